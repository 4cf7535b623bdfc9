#!/bin/bash
# The long tests: all tests, the sanitizers, and every fuzz target for a minute. Writes what came out to
# tests/bench/results/long_test-DATE.txt, and ends with `N passed, N failed[, N skipped]` over all of them, where
# each fuzz target counts as one. Takes an hour or more.
#
#   deploy/long_test.sh [--seconds=60]     --seconds: for each fuzz target
set -uo pipefail
cd "$(dirname "$0")/.." || exit

seconds=60
case "${1:-}" in
  "") ;;
  --seconds=*) seconds=${1#*=} ;;
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) echo "long_test.sh: unknown option $1" >&2; exit 2 ;;
esac

results=tests/bench/results/long_test-$(date +%F).txt
mkdir -p "${results%/*}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0

record() { echo "$1" >>"$results"; }

# Runs a command that ends with the line of deploy/test.sh, and adds that line up.
run_tests() {  # title, command...
  local title=$1 begin=$SECONDS line
  shift
  echo "long_test: $title"
  "$@" 2>&1 | tee "$log"
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
  [[ -n $line ]] || line="0 passed, 1 failed"
  local words
  read -ra words <<<"$line"
  passed=$((passed + words[0])) failed=$((failed + words[2])) skipped=$((skipped + ${words[4]:-0}))
  record "$title: $line ($((SECONDS - begin)) s)"
}

run_fuzz() {
  echo "long_test: fuzz"
  deploy/fuzz.sh "--seconds=$seconds" 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]} good bad
  good=$(grep -cE '^fuzz: [a-z0-9_]+ ok' "$log")
  bad=$(grep -cE '^fuzz: [a-z0-9_]+ FAILED' "$log")
  if ((status != 0 && bad == 0)) || ((good + bad == 0)); then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad))
  record "fuzz, $seconds s a target: $good passed, $bad failed"
  grep -E '^fuzz: [a-z0-9_]+ (ok|FAILED)' "$log" | sed 's/, log .*//; s/^/  /' >>"$results"
}

commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain 2>/dev/null) ]] || commit+=" with local changes"
cat >"$results" <<END
long_test $(date -u +%FT%TZ)
commit: $commit
machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(. /etc/os-release && echo "$PRETTY_NAME")
END
export KVCOMPD_SANITIZE=0
run_tests "tests" deploy/test.sh
run_tests "address, leak and undefined-behaviour sanitizers" deploy/sanitize.sh asan
run_tests "thread sanitizer" deploy/sanitize.sh tsan
run_fuzz

total="$passed passed, $failed failed"
((skipped == 0)) || total+=", $skipped skipped"
record "total: $total"
echo "long_test: results in $results"
echo "$total"
((failed == 0 && passed > 0))
