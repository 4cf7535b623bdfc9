#!/bin/bash
# Checks the source beyond its tests. Each check prints `check: NAME ok` or `FAILED`; exits with 1 if one failed.
#
#   deploy/check.sh                     all of them; lint on changed files only
#   deploy/check.sh format tree         these
#   deploy/check.sh lint FILE...        lint these files
#   deploy/check.sh --all               all of them; lint on every file
#
# format    clang-format
# tree      unique file names, file sizes, include arrows (check_tree.py)
# arrows    the arrows of ARCHITECTURE.md in the deps of BUILD files
# headers   every header compiles alone
# gcc       everything builds with g++, warnings are errors
# clang     the same with clang: layering_check and thread-safety analysis; planted mistakes are caught
# lint      clang-tidy
#
# BAZEL names the bazel command with its startup options; BAZEL_FLAGS holds flags for its builds.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"
read -ra build_flags <<<"--color=no --noshow_progress ${BAZEL_FLAGS:-}"
jobs=$(nproc)

existing() { while read -r f; do if [[ -f $f ]]; then echo "$f"; fi; done; }
sources() { git ls-files --cached --others --exclude-standard -- "$@" | existing; }
build() { "${bazel[@]}" build "${build_flags[@]}" "$@" </dev/null; }

# Compiler arguments for a single file, outside Bazel. Generated headers count as system headers.
compile_flags() {
  build //proto/... >&2 || return
  local bin
  bin=$("${bazel[@]}" info "${build_flags[@]}" bazel-bin 2>/dev/null </dev/null) || return
  flags=(-std=c++20 -I. -isystem "$bin" -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
  if [[ -d ${CUDA_HOME:-/usr/local/cuda}/include ]]; then flags+=(-isystem "${CUDA_HOME:-/usr/local/cuda}/include"); fi
}

check_format() { sources '*.h' '*.cc' '*.cu' | xargs -r -P "$jobs" -n 16 clang-format-14 --dry-run -Werror; }

check_tree() { python3 deploy/check_tree.py; }

check_arrows() {
  local folder other failed=0 package
  local -A forbidden=([codec]="gpu proto server client tests" [gpu]="proto server client tests"
    [proto]="gpu server client tests" [server]="client tests" [client]="server tests")
  has_targets() { [[ -d $1 ]] && [[ -n $(find "$1" -name BUILD -print -quit) ]]; }
  for folder in "${!forbidden[@]}"; do
    has_targets "$folder" || continue
    for other in ${forbidden[$folder]}; do
      has_targets "$other" || continue
      # What a target compiles or links; programs that it only runs (data) are no dependency of its code.
      local rules="kind('cc_.*', //$folder/...)"
      package=$("${bazel[@]}" query --noshow_progress \
        "(labels(deps, $rules) + labels(srcs, $rules) + labels(hdrs, $rules)) intersect //$other/...:*" </dev/null) ||
        return
      if [[ -n $package ]]; then
        echo "$folder depends on ${package//$'\n'/ }"
        failed=1
      fi
    done
  done
  return "$failed"
}

check_headers() {
  local flags
  compile_flags || return
  # A copy under another name, because g++ warns of #pragma once and the like in a main file.
  sources 'codec/*.h' 'gpu/*.h' 'proto/*.h' 'server/*.h' 'client/*.h' 'tests/*.h' |
    xargs -r -P "$jobs" -I{} bash -c 'echo "#include \"$1\"" | g++ "${@:2}" -Werror -fsyntax-only -x c++ - ||
      { echo "$1 does not compile alone"; exit 1; }' _ {} "${flags[@]}"
}

check_gcc() { build --keep_going //...; }

check_clang() { build --keep_going --config=clang //... && tests/build/planted_selftest.sh; }

# Changed since the last commit, or, where nothing is, in it.
changed() {
  local files
  files=$( (git diff --name-only HEAD; git ls-files --others --exclude-standard) | grep -E '\.cc$' | sort -u)
  [[ -n $files ]] || files=$(git diff --name-only HEAD~1 HEAD -- '*.cc')
  existing <<<"$files"
}

check_lint() {
  local flags files
  if ((${#lint_files[@]})); then files=$(printf '%s\n' "${lint_files[@]}")
  elif ((lint_all)); then files=$(sources '*.cc')
  else files=$(changed); fi
  [[ -n $files ]] || return 0
  compile_flags || return
  xargs -r -P "$jobs" -I{} timeout 300 clang-tidy-14 --quiet {} -- "${flags[@]}" <<<"$files" 2> >(grep -v 'warnings generated' >&2)
}

checks=()
lint_files=()
lint_all=0
for argument in "$@"; do
  case "$argument" in
    format | tree | arrows | headers | gcc | clang | lint) checks+=("$argument") ;;
    --all) lint_all=1 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *.cc | *.h) lint_files+=("$argument") ;;
    *) echo "check.sh: unknown argument $argument" >&2; exit 2 ;;
  esac
done
((${#checks[@]})) || checks=(format tree arrows headers gcc clang lint)

deploy/install.sh --check-tools || exit
deploy/bazel/remove_stale_links.sh
failed=0
for check in "${checks[@]}"; do
  if "check_$check"; then
    echo "check: $check ok"
  else
    echo "check: $check FAILED"
    failed=1
  fi
done
exit "$failed"
