#!/usr/bin/env bash
# Installs what building and testing Framelock needs beyond Rust and a C compiler (Debian 12 or newer, Ubuntu).
# Installs with apt where it may (root, or sudo without a password); otherwise names what to install and fails.
#
#   deploy/prerequisites.sh build         to build the sender and the aggregator, and to run the demo
#   deploy/prerequisites.sh python        build, and the Python package
#   deploy/prerequisites.sh test          build, python, and the real peers that the tests and benches talk to
#   deploy/prerequisites.sh cross         the cross compilers for ARM boards
#   deploy/prerequisites.sh board-test    cross, and the emulated boards (also for the benches)
set -euo pipefail

build=(pkg-config cmake nasm clang libclang-dev libavcodec-dev libavformat-dev libavutil-dev)
python=(python3 python3-venv)
test=(ffmpeg openssl chrony ntpsec-ntpdate iproute2 glib-networking python3-gi python3-zmq gir1.2-gstreamer-1.0
      gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
      gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav libswscale-dev)
cross=(gcc-arm-linux-gnueabihf g++-arm-linux-gnueabihf gcc-aarch64-linux-gnu g++-aarch64-linux-gnu clang libclang-dev cmake)
board=(qemu-system-arm qemu-user cpio kmod chrony)

case "${1:-}" in
  build) want=("${build[@]}") ;;
  python) want=("${build[@]}" "${python[@]}") ;;
  test) want=("${build[@]}" "${python[@]}" "${test[@]}") ;;
  cross) want=("${cross[@]}") ;;
  board-test) want=("${build[@]}" "${cross[@]}" "${board[@]}") ;;
  *) echo "usage: deploy/prerequisites.sh build|python|test|cross|board-test" >&2; exit 2 ;;
esac

for tool in cargo cc; do
  command -v "$tool" >/dev/null || {
    echo "prerequisites: '$tool' is missing; install Rust from https://rustup.rs and a C compiler (apt: gcc g++)" >&2
    exit 1
  }
done
command -v c++ >/dev/null || want+=(g++)

if ! command -v dpkg-query >/dev/null; then
  echo "prerequisites: not a Debian system; install the equivalents of: ${want[*]}" >&2
  exit 0
fi

missing=()
for package in "${want[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "prerequisites: missing packages; install them with: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi

echo "prerequisites: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A new machine may be busy with its own updates: apt waits for them.
if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "prerequisites: apt could not install: ${missing[*]}" >&2
  exit 1
fi
