#!/bin/bash
# Builds every fuzz target (kvcompd_fuzz_target in deploy/bazel/fuzz.bzl) with libFuzzer and the sanitizers, and
# runs each for a while on a copy of its corpus. One line a target; exits with 1 where one found something.
#
#   deploy/fuzz.sh [--seconds=60] [--out=FOLDER] [NAME...]
#
# Findings and grown corpora stay in FOLDER (default: a temporary one, whose name is printed). To replay one, put
# it into tests/fuzz/corpus/NAME/, where an ordinary test runs it. BAZEL and BAZEL_FLAGS: see deploy/check.sh.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"
read -ra build_flags <<<"--color=no --noshow_progress --config=fuzz --experimental_convenience_symlinks=ignore ${BAZEL_FLAGS:-}"

seconds=60
out=
names=()
for argument in "$@"; do
  case "$argument" in
    --seconds=*) seconds=${argument#*=} ;;
    --out=*) out=${argument#*=} ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) echo "fuzz.sh: unknown option $argument" >&2; exit 2 ;;
    *) names+=("$argument") ;;
  esac
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz.sh: --seconds needs a number" >&2; exit 2; }

deploy/install.sh --check-tools || exit
if ((${#names[@]} == 0)); then
  mapfile -t names < <("${bazel[@]}" query --noshow_progress --output=label \
    'kind("cc_binary", filter("_fuzz$", //tests/fuzz/...))' </dev/null | sed 's/.*://' | sort)
fi
((${#names[@]})) || { echo "fuzz.sh: no fuzz targets" >&2; exit 1; }
"${bazel[@]}" build "${build_flags[@]}" "${names[@]/#///tests/fuzz:}" </dev/null || exit
bin=$("${bazel[@]}" info "${build_flags[@]}" bazel-bin 2>/dev/null </dev/null) || exit
if [[ -n $out ]]; then mkdir -p "$out" || exit; else out=$(mktemp -d) || exit; fi

failed=0
for name in "${names[@]}"; do
  work=$out/$name
  mkdir -p "$work/corpus" "$work/findings"
  # New inputs go to the first folder; the committed ones are only read.
  folders=("$work/corpus")
  [[ -d tests/fuzz/corpus/$name ]] && folders+=("tests/fuzz/corpus/$name")
  "$bin/tests/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$work/findings/" "${folders[@]}" >"$work/log" 2>&1 </dev/null
  status=$?
  execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
  if ((status == 0)) && [[ ${execs:-0} -gt 0 ]]; then
    echo "fuzz: $name ok, $execs executions in $seconds s"
  else
    echo "fuzz: $name FAILED (status $status, ${execs:-0} executions): $(ls "$work/findings"), log $work/log"
    tail -n 40 "$work/log" >&2
    failed=1
  fi
done
echo "fuzz: results in $out"
exit "$failed"
