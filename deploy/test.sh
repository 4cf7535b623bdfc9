#!/bin/bash
# Installs what is missing, builds, runs the tests, and ends with one line: `N passed, N failed[, N skipped]`.
#
#   deploy/test.sh                        every test, including the KV sample's
#   deploy/test.sh --quick                tests of size small only
#   deploy/test.sh //tests/codec/...      these targets; flags (--config=asan) go to bazel as they are
#
# Environment: KVCOMPD_DATA, KVCOMPD_MODEL, KVCOMPD_TRACES (folders of larger inputs) and KVCOMPD_REQUIRE_GPU
# reach the tests; KVCOMPD_SANITIZE=1 also runs deploy/sanitize.sh asan and tsan; BAZEL names the bazel command
# with its startup options.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"

fail() {
  echo "test.sh: $1" >&2
  echo "0 passed, 1 failed"
  exit 1
}

flags=(--color=no --curses=no --show_progress_rate_limit=30 --test_summary=terse)
targets=()
for argument in "$@"; do
  case "$argument" in
    --quick) flags+=(--test_size_filters=small) ;;
    # A minus before a label leaves targets out.
    -//* | //* | :*) targets+=("$argument") ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) flags+=("$argument") ;;
    *) fail "unknown argument $argument" ;;
  esac
done
((${#targets[@]})) || targets=(//...)
for name in KVCOMPD_DATA KVCOMPD_MODEL KVCOMPD_TRACES KVCOMPD_REQUIRE_GPU; do
  [[ -n ${!name:-} ]] && flags+=("--test_env=$name")
done

deploy/install.sh || fail "the installation failed"
deploy/bazel/remove_stale_links.sh

events=$(mktemp) || fail "no temporary file"
summary=$(mktemp) || fail "no temporary file"
trap 'rm -f "$events" "$summary"' EXIT
"${bazel[@]}" test "${flags[@]}" "--build_event_json_file=$events" -- "${targets[@]}" </dev/null
status=$?
if [[ ${KVCOMPD_SANITIZE:-0} != 1 ]]; then
  python3 deploy/count_tests.py "$events" "$status"
  exit
fi

# One line at the end, over the three runs.
ok=0
python3 deploy/count_tests.py "$events" "$status" | tee "$summary" || ok=1
for sanitizer in asan tsan; do
  KVCOMPD_SANITIZE=0 deploy/sanitize.sh "$sanitizer" | tee -a "$summary" || ok=1
done
awk '/^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3; skipped += $5 }
     END { printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : "" }' "$summary"
exit "$ok"
