#!/bin/sh
# The board test: cross-builds the sender for ARMv7, boots two emulated boards with Debian's ARM kernel and
# its vivid camera driver, corrects their wrong clocks against a real chronyd, breaks their cameras, and moves
# them into phase. See tests/board/main.rs for what is checked.
#
# The first run fetches Debian packages into target/board-cache; later runs need no network.
# `deploy/prerequisites.sh board-test` installs the programs that it needs.
set -eu
cd "$(dirname "$0")/../.."
profile=board # what real boards get
target=armv7-unknown-linux-gnueabihf

cross/build.sh "$target" "$profile" framelock-board-clock
tests/board/prepare.sh "target/$target/$profile/framelock-sender" "target/$target/$profile/board-clock"
cargo build --quiet --locked --package framelock-aggregator --bin framelock-aggregator
cargo build --quiet --locked --package framelock-tests --bin board-test
USER=$(id -un) target/debug/board-test "$PWD/target/board-test"
