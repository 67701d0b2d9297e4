#!/usr/bin/env bash
# Installs libframelock, its headers and its pkg-config files: `make capi` builds it before.
#
#   aggregator/capi/install.sh BUILT PREFIX     BUILT: where cargo put it, such as target/release
#
# DESTDIR, for packagers, is where PREFIX will be seen below.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: aggregator/capi/install.sh BUILT PREFIX" >&2; exit 2; }

here=$(cd "$(dirname "$0")" && pwd)
built=$1
prefix=$(realpath -m "$2")
to=${DESTDIR:-}$prefix

version=$(sed -n '/^version = "/{s/^version = "\(.*\)"$/\1/p;q}' "$here/../../Cargo.toml")
abi=$(sed -n 's/^#define FRAMELOCK_ABI //p' "$here/include/framelock.h")
[ -n "$version" ] && [ -n "$abi" ] || { echo "install: no version in Cargo.toml, or no FRAMELOCK_ABI in framelock.h" >&2; exit 1; }

install -d "$to/lib/pkgconfig" "$to/include"
install -m 755 "$built/libframelock.so" "$to/lib/libframelock.so.$version"
ln -sf "libframelock.so.$version" "$to/lib/libframelock.so.$abi"
ln -sf "libframelock.so.$abi" "$to/lib/libframelock.so"
install -m 644 "$built/libframelock.a" "$to/lib/"
install -m 644 "$here"/include/framelock*.h* "$to/include/"
for name in framelock framelock-static; do
  sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/$name.pc.in" > "$to/lib/pkgconfig/$name.pc"
done
