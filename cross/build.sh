#!/bin/sh
# Cross-builds framelock-sender for a board with Debian's cross gcc.
#
#   cross/build.sh [TARGET] [PROFILE] [PACKAGE...]
#     TARGET   armv7-unknown-linux-gnueabihf (default) or aarch64-unknown-linux-gnu
#     PROFILE  board (default: small, what a board gets) or any other Cargo profile
#     PACKAGE  other packages to build beside it
#
# Prints the binary's path, its size (the limit for armv7 is 5 MiB) and the glibc that it needs.
#
# Debian packages: gcc-arm-linux-gnueabihf g++-arm-linux-gnueabihf (armv7),
#   gcc-aarch64-linux-gnu g++-aarch64-linux-gnu (aarch64), cmake, libclang-dev (bindgen), binutils of the same names.
set -eu
cd "$(dirname "$0")/.."

target=${1:-armv7-unknown-linux-gnueabihf}
profile=${2:-board}
if [ $# -gt 2 ]; then shift 2; else set --; fi
size_limit=5242880

fail() {
    echo "cross: $1" >&2
    exit 1
}

. cross/settings.sh

missing=""
command -v "$gnu_triple-gcc" >/dev/null || missing="$missing gcc-$gnu_triple"
command -v "$gnu_triple-g++" >/dev/null || missing="$missing g++-$gnu_triple"
command -v cmake >/dev/null || missing="$missing cmake"
if [ -n "$missing" ]; then
    fail "missing:$missing. Install with: apt-get install$missing"
fi

# Rust's standard library for the target; rustup brings it once, then this is a look at the disk.
libdir=$(rustc --print target-libdir --target "$target")
if ! ls "$libdir"/libstd-*.rlib >/dev/null 2>&1; then
    command -v rustup >/dev/null ||
        fail "this Rust has no standard library for $target and there is no rustup to add it; install Rust from https://rustup.rs"
    rustup target add "$target" ||
        fail "'rustup target add $target' failed; it needs a network once"
fi

export "CARGO_TARGET_${target_upper}_LINKER=$gnu_triple-gcc"
export "CC_$target_env=$gnu_triple-gcc"
export "CXX_$target_env=$gnu_triple-g++"
export "AR_$target_env=$gnu_triple-ar"
export "BINDGEN_EXTRA_CLANG_ARGS_$target_env=--target=$gnu_triple -I/usr/$gnu_triple/include"
export "CMAKE_TOOLCHAIN_FILE_$target_env=$PWD/cross/toolchain.cmake"
export FRAMELOCK_GNU_TRIPLE="$gnu_triple" FRAMELOCK_CMAKE_PROCESSOR="$cmake_processor"

cargo build --quiet --locked --package framelock-sender --bin framelock-sender --target "$target" --profile "$profile"
for package in "$@"; do
    cargo build --quiet --locked --package "$package" --target "$target" --profile "$profile"
done

case "$profile" in
dev) out=debug ;;
*) out=$profile ;;
esac
binary=${CARGO_TARGET_DIR:-target}/$target/$out/framelock-sender
size=$(stat -c %s "$binary")
glibc=$("$gnu_triple-objdump" -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$binary: $size bytes, needs $glibc"
if [ "$profile" = board ] && [ "$size" -gt "$size_limit" ]; then
    fail "$binary is $size bytes; a board gets at most $size_limit (5 MiB)"
fi
