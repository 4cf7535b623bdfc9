#!/bin/bash
# Proves that --config=clang refuses what it is there to refuse: an include of a header whose library is not in
# deps (layering_check), and an access to a guarded field without its lock (-Wthread-safety). Called by
# deploy/check.sh. BAZEL may name the bazel command with its startup options.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"
package=//tests/build/planted
failed=0

build() { "${bazel[@]}" build --config=clang --color=no --noshow_progress "$@" 2>&1 </dev/null; }

expect_builds() {
  local log
  if ! log=$(build "$package:$1"); then
    echo "planted_selftest: $1 should build:" >&2
    echo "$log" >&2
    failed=1
  fi
}

expect_refused() {  # target, what the compiler must say
  local log
  if log=$(build "$package:$1"); then
    echo "planted_selftest: $1 should not build, but does" >&2
    failed=1
  elif ! grep -qF -- "$2" <<<"$log"; then
    echo "planted_selftest: $1 fails without saying '$2':" >&2
    echo "$log" >&2
    failed=1
  fi
}

expect_builds declared_include
expect_refused undeclared_include "does not depend on a module exporting 'tests/build/planted/inner.h'"
expect_builds guarded_access
expect_refused unguarded_access "requires holding mutex 'mutex_'"
((failed == 0)) && echo "planted_selftest: ok"
exit "$failed"
