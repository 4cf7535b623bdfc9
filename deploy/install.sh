#!/bin/bash
# Installs what building and testing kvcompd needs, on Debian 12. Safe to repeat: does nothing when all is there.
#
#   deploy/install.sh                 compiler, Bazel and libraries
#   deploy/install.sh --check-tools   also clang, clang-format and clang-tidy (deploy/check.sh, --config=clang, fuzzing)
set -euo pipefail

packages=(
  # bazel-rules-java stands for the @rules_java that Bazel would download; see WORKSPACE.
  bazel-bootstrap bazel-rules-java python3
  g++ pkg-config
  libgrpc++-dev libgrpc-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libabsl-dev libspdlog-dev libisal-dev libhwy-dev libxxhash-dev libssl-dev nlohmann-json3-dev libyaml-cpp-dev
  prometheus-cpp-dev
  libgtest-dev libgmock-dev libbenchmark-dev libzstd-dev liblz4-dev
)
check_tools=(clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev)

case "${1:-}" in
  "") ;;
  --check-tools) packages+=("${check_tools[@]}") ;;
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) echo "install.sh: unknown option $1" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install.sh: all ${#packages[@]} packages are there"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo "install.sh: run as root, or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq "$@" </dev/null
}
echo "install.sh: installing ${missing[*]}"
apt update
apt install --no-install-recommends -y "${missing[@]}" >/dev/null
echo "install.sh: installed ${#missing[@]} packages"
