#!/bin/bash
# Removes bazel-* links that lead into another output folder than the one in use (another user's, or that of
# --output_base). Bazel 4.2 knows only its own links, and `//...` would follow the others. Called by deploy/test.sh
# and deploy/check.sh in the repository's root; BAZEL: see there.
read -ra bazel <<<"${BAZEL:-bazel}"
output_base=$("${bazel[@]}" info output_base 2>/dev/null </dev/null) || exit 0
for link in bazel-*; do
  if [[ -L $link && $(readlink "$link") != "$output_base"/* ]]; then rm -f -- "$link"; fi
done
