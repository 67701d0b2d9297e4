#!/bin/bash
# Puts together what an emulated board boots: Debian's ARM kernel with its vivid camera driver, busybox,
# v4l2-ctl and the C library, and the cross-built sender and clock helper.
#
#   tests/board/prepare.sh SENDER CLOCK   ->  target/board-test/{vmlinuz,orangepi-pc.dtb,initramfs}
#
# The packages come from Debian's armhf archive through apt with lists of its own: no root, and the machine's
# own architectures stay as they are. They are kept in target/board-cache, and later runs need no network;
# remove that folder to get a newer kernel.
# Debian packages: qemu-system-arm cpio kmod libc6-armhf-cross libstdc++6-armhf-cross (the two come with
# g++-arm-linux-gnueabihf).
set -euo pipefail
cd "$(dirname "$0")/../.."

sender=$1
clock=$2
cache=$PWD/target/board-cache
out=$PWD/target/board-test
here=tests/board
packages=(busybox-static v4l-utils libv4l-0 libv4lconvert0 libjpeg62-turbo)
mkdir -p "$cache" "$out"

fail() {
    echo "board-test: $1" >&2
    exit 1
}

apt_armhf() {
    apt-get -qq -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache" \
        -o APT::Architectures::="$(dpkg --print-architecture)" -o APT::Architectures::=armhf \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# Debian's packages, unpacked side by side into $cache/root.
fetch() {
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial" "$cache/debs.new"
    # One broken index among several is no reason to stop; what is missing then shows below.
    apt_armhf update || echo "board-test: apt-get update was not complete; going on with what there is" >&2
    local kernel
    kernel=$(apt_cache_depends) || fail "no package linux-image-armmp:armhf; the machine's apt sources must be Debian's"
    (cd "$cache/debs.new" && apt_armhf download "$kernel" "${packages[@]/%/:armhf}") ||
        fail "apt-get download failed; the first run needs a network"
    rm -rf "$cache/root.new" "$cache/root"
    for deb in "$cache"/debs.new/*.deb; do
        dpkg -x "$deb" "$cache/root.new"
    done
    rm -rf "$cache/debs.new"
    echo "${packages[*]}" > "$cache/root.new/packages"
    mv "$cache/root.new" "$cache/root"
}

# The versioned package behind linux-image-armmp.
apt_cache_depends() {
    apt-cache -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache" \
        -o APT::Architectures::="$(dpkg --print-architecture)" -o APT::Architectures::=armhf \
        depends linux-image-armmp:armhf | awk '$1 == "Depends:" { print $2; found = 1; exit } END { exit !found }'
}

# The part of the initramfs that changes only with Debian's packages.
base() {
    local kernel root=$cache/root tree=$cache/base
    kernel=$(basename "$root"/lib/modules/*)
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,lib,modules}
    cp "$root/bin/busybox" "$root/usr/bin/v4l2-ctl" "$tree/bin/"
    cp -L "$root"/usr/lib/arm-linux-gnueabihf/lib{v4l2.so.0,v4lconvert.so.0,jpeg.so.62} "$tree/lib/"
    cp -L /usr/arm-linux-gnueabihf/lib/{ld-linux-armhf.so.3,libc.so.6,libm.so.6,libgcc_s.so.1,libstdc++.so.6} "$tree/lib/"
    depmod -b "$root" "$kernel"
    local module
    for module in virtio_mmio virtio_net dwmac-sun8i vivid vhci-hcd uvcvideo; do
        modprobe -d "$root" -S "$kernel" --show-depends "$module" ||
            fail "Debian's kernel $kernel has no module $module: without it there is no board test"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$cache/modules"
    while read -r module; do
        cp "$module" "$tree/modules/"
        basename "$module" .ko
    done < "$cache/modules" > "$tree/modules/order"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) > "$cache/base.cpio.gz.new"
    mv "$cache/base.cpio.gz.new" "$cache/base.cpio.gz"
}

if [ "$(cat "$cache/root/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    fetch
    rm -f "$cache/base.cpio.gz"
fi
if [ ! -e "$cache/base.cpio.gz" ] || [ "$here/prepare.sh" -nt "$cache/base.cpio.gz" ]; then
    base
fi

cp -L "$cache"/root/boot/vmlinuz-* "$out/vmlinuz"
cp "$cache"/root/usr/lib/linux-image-*/sun8i-h3-orangepi-pc.dtb "$out/orangepi-pc.dtb"

# The kernel unpacks one archive after the other: our programs go into a second one.
overlay=$out/overlay
rm -rf "$overlay"
mkdir -p "$overlay/bin"
install -m 755 "$here/init" "$overlay/init"
install -m 755 "$here/plug" "$overlay/bin/plug"
install -m 755 "$sender" "$overlay/bin/framelock-sender"
install -m 755 "$clock" "$overlay/bin/board-clock"
(cd "$overlay" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) | cat "$cache/base.cpio.gz" - > "$out/initramfs"
