# Framelock. `make demo` and `make test` do all the set-up themselves.

SECONDS ?= 20
CAMERAS ?= 3
FUZZ_SECONDS ?= 10
TOOLS := $(CURDIR)/target/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO_FUZZ := $(TOOLS)/bin/cargo-fuzz
FUZZ_TARGETS = $(patsubst tests/fuzz/fuzz_targets/%.rs,%,$(wildcard tests/fuzz/fuzz_targets/*.rs))

.PHONY: help demo test test-rust lint cross board-test board-phase bench fuzz

help:
	@echo 'make demo        three simulated boards, synchronized: no hardware, no configuration (SECONDS=20 CAMERAS=3)'
	@echo 'make test        all tests: units, real peers, faults, fuzzing, emulated ARM boards'
	@echo 'make lint        formatting, clippy, documentation, licences and duplicate crates'
	@echo 'make cross       the sender for ARM boards (armv7 and aarch64)'
	@echo 'make board-test  the sender on two emulated ARM boards with a real camera driver'
	@echo 'make board-phase the same, and the cameras moved into phase: takes some minutes more'
	@echo 'make bench       CPU, memory and latency figures, printed'
	@echo 'make fuzz        every parser under the fuzzer (FUZZ_SECONDS=10 each)'

demo:
	@deploy/prerequisites.sh build
	cargo build --release --locked --bins
	target/release/framelock-aggregator demo --cameras $(CAMERAS) --seconds $(SECONDS)

test: test-rust fuzz board-test

test-rust:
	@deploy/prerequisites.sh test
	cargo build --workspace --locked --bins
	cargo test --workspace --locked
	cargo test -p framelock-aggregator --locked --no-default-features --features openh264 --lib decode

lint: $(CARGO_DENY)
	@deploy/prerequisites.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	$(CARGO_DENY) --all-features check licenses bans sources

cross:
	@deploy/prerequisites.sh cross
	cross/build.sh armv7-unknown-linux-gnueabihf board
	cross/build.sh aarch64-unknown-linux-gnu board

board-test:
	@deploy/prerequisites.sh board-test
	tests/board/run.sh

board-phase:
	@deploy/prerequisites.sh board-test
	tests/board/run.sh --phase

bench:
	@deploy/prerequisites.sh test
	@deploy/prerequisites.sh board-test
	cross/build.sh armv7-unknown-linux-gnueabihf board
	cargo build --release --locked --bins
	cargo bench --locked -p framelock-tests

fuzz: $(CARGO_FUZZ)
	@set -e; for target in $(FUZZ_TARGETS); do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
	  tests/fuzz/run.sh $$target $(FUZZ_SECONDS); \
	done

$(CARGO_DENY):
	cargo install cargo-deny --version 0.20.2 --locked --no-default-features --debug --root $(TOOLS) --target-dir target/tools/build

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version 0.13.2 --locked --debug --root $(TOOLS) --target-dir target/tools/build
