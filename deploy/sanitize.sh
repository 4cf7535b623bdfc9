#!/bin/bash
# Runs tests under a sanitizer and ends with `N passed, N failed[, N skipped]`, as deploy/test.sh does.
#
#   deploy/sanitize.sh asan    address, leak and undefined-behaviour sanitizers: every test
#   deploy/sanitize.sh tsan    thread sanitizer: every test that does not link gRPC, which is not instrumented
#
# Tests tagged no_asan or no_tsan are left out. Further arguments go to deploy/test.sh; targets among them replace
# the ones above. BAZEL: see deploy/test.sh.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"

kind=${1:-}
[[ $kind == asan || $kind == tsan ]] || { echo "usage: deploy/sanitize.sh asan|tsan [argument...]" >&2; exit 2; }
shift

targets=()
if [[ " $*" != *" //"* ]]; then
  targets=(//tests/...)
  if [[ $kind == tsan ]]; then
    deploy/install.sh >/dev/null || { echo "0 passed, 1 failed"; exit 1; }
    query='tests(//tests/...) except rdeps(//tests/..., @grpcpp//:grpcpp) except attr(tags, "\bmanual\b", //tests/...)'
    mapfile -t targets < <("${bazel[@]}" query --noshow_progress "$query" </dev/null)
    ((${#targets[@]})) || { echo "sanitize.sh: no targets" >&2; echo "0 passed, 1 failed"; exit 1; }
  fi
fi
exec env KVCOMPD_SANITIZE=0 deploy/test.sh "--config=$kind" "--test_tag_filters=-no_$kind" "$@" "${targets[@]}"
