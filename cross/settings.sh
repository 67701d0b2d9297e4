# Sourced, not run: compiler settings for the boards, the same for every way of cross-building.
#   target=TARGET; . cross/settings.sh
# What is set here depends on the processor only. Which compiler is called is the caller's choice
# (build.sh: Debian's cross gcc; Cross.toml: the one in cross's image; cargo-zigbuild: zig).

case "$target" in
armv7-unknown-linux-gnueabihf)
    # Cortex-A7 and up. Rust's armv7 target assumes no NEON; every board we aim at has it, and openh264's and
    # libjpeg-turbo's assembly as well as our own pixel loops need it. rustc warns that the name `neon`
    # may still change: such a change would be a build error, not a slower binary.
    board_cpu_flags="-march=armv7-a -mfpu=neon-vfpv4 -mfloat-abi=hard"
    board_rustflags="-C target-feature=+neon"
    gnu_triple=arm-linux-gnueabihf
    cmake_processor=armv7
    ;;
aarch64-unknown-linux-gnu)
    board_cpu_flags="-march=armv8-a"
    board_rustflags=""
    gnu_triple=aarch64-linux-gnu
    cmake_processor=aarch64
    ;;
*)
    echo "cross: unknown target '$target'; known: armv7-unknown-linux-gnueabihf, aarch64-unknown-linux-gnu" >&2
    return 2
    ;;
esac

target_env=$(printf %s "$target" | tr - _)
target_upper=$(printf %s "$target_env" | tr a-z A-Z)

export "CFLAGS_$target_env=$board_cpu_flags"
export "CXXFLAGS_$target_env=$board_cpu_flags"
export "CARGO_TARGET_${target_upper}_RUSTFLAGS=$board_rustflags"
