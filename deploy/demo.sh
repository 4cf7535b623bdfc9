#!/bin/bash
# The demo, from a clean clone on Debian 12: installs what is missing, builds the daemon and kvcompctl, and runs
# `kvcompctl demo` on the KV sample. Ends with the demo's exit status: 0 where every check passed.
#
#   deploy/demo.sh                      one table
#   deploy/demo.sh --json               arguments go to `kvcompctl demo`
#
# Environment: BAZEL names the bazel command with its startup options.
set -euo pipefail
cd "$(dirname "$0")/.." || exit
read -ra bazel <<<"${BAZEL:-bazel}"

case "${1:-}" in
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
esac

# What a person or program reads on stdout is the demo's alone.
{
  deploy/install.sh
  "${bazel[@]}" build --color=no --curses=no --show_progress_rate_limit=30 //server:kvcompd //client:kvcompctl </dev/null
  bin=$("${bazel[@]}" info bazel-bin 2>/dev/null)
} >&2

KVCOMPD_BINARY="$bin/server/kvcompd" exec env -u KVCOMPD_ADDRESS "$bin/client/kvcompctl" demo --data=tests/data "$@"
