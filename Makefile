# Framelock. `make demo` and `make test` do all the set-up themselves.

SECONDS ?= 20
CAMERAS ?= 3
FUZZ_SECONDS ?= 10
TOOLS := $(CURDIR)/target/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO_FUZZ := $(TOOLS)/bin/cargo-fuzz
CBINDGEN := $(TOOLS)/bin/cbindgen
HEADER := $(CBINDGEN) --quiet --config aggregator/capi/cbindgen.toml --output aggregator/capi/include/framelock.h
FUZZ_TARGETS = $(patsubst tests/fuzz/fuzz_targets/%.rs,%,$(wildcard tests/fuzz/fuzz_targets/*.rs))

PYTHON ?= python3
PREFIX ?= target/capi
VENV := target/python/venv
TEST_VENV := target/python/test-venv

.PHONY: help demo python capi capi-header test test-rust test-python test-capi lint cross board-test bench fuzz

help:
	@echo 'make demo        three simulated boards, synchronized: no hardware, no configuration (SECONDS=20 CAMERAS=3)'
	@echo 'make python      the Python package, as a wheel and in a virtual environment of its own'
	@echo 'make capi        the C library with its C and C++ headers, installed in PREFIX (target/capi)'
	@echo 'make test        all tests: units, real peers, faults, Python, C, fuzzing, emulated ARM boards'
	@echo 'make lint        formatting, clippy, documentation, the C header, licences and duplicate crates'
	@echo 'make cross       the sender for ARM boards (armv7 and aarch64)'
	@echo 'make board-test  the sender on two emulated ARM boards with a real camera driver'
	@echo 'make bench       CPU, memory and latency figures, printed'
	@echo 'make fuzz        every parser under the fuzzer (FUZZ_SECONDS=10 each)'

demo:
	@deploy/prerequisites.sh build
	cargo build --release --locked -p framelock-sender -p framelock-aggregator --bins
	target/release/framelock-aggregator demo --cameras $(CAMERAS) --seconds $(SECONDS)

python: $(VENV)/made
	@deploy/prerequisites.sh python
	$(VENV)/bin/pip wheel --quiet --no-deps --wheel-dir target/python/wheels ./aggregator/python
	$(VENV)/bin/pip install --quiet --force-reinstall --no-deps target/python/wheels/framelock-*.whl
	@$(VENV)/bin/python -c 'import framelock'
	@ls target/python/wheels/framelock-*.whl
	@echo 'Install it elsewhere with pip, or use it here: $(VENV)/bin/python'

capi:
	@deploy/prerequisites.sh build
	cargo build --release --locked -p framelock-capi
	aggregator/capi/install.sh target/release $(PREFIX)
	@echo 'Use it with PKG_CONFIG_PATH=$(abspath $(PREFIX))/lib/pkgconfig and pkg-config --cflags --libs framelock'

# After a change of what the C library exports or says of it.
capi-header: $(CBINDGEN)
	$(HEADER) aggregator/capi

test: test-rust test-python test-capi fuzz board-test

test-rust:
	@deploy/prerequisites.sh test
	cargo build --workspace --locked --bins
	cargo test --workspace --locked
	cargo test -p framelock-aggregator --locked --no-default-features --features openh264 --lib decode

# Installed as users do, with pip from the checkout, but built as the other tests are.
test-python: $(TEST_VENV)/made
	@deploy/prerequisites.sh test
	cargo build --workspace --locked --bins
	MATURIN_PEP517_ARGS='--profile dev' $(TEST_VENV)/bin/pip install --quiet --force-reinstall --no-deps ./aggregator/python
	cd aggregator/python && ../../$(TEST_VENV)/bin/mypy python/framelock tests/*.py examples
	cd aggregator/python && ../../$(TEST_VENV)/bin/stubtest framelock._native --mypy-config-file pyproject.toml
	cd aggregator/python && ../../$(TEST_VENV)/bin/pytest

# Built as the other tests are.
test-capi:
	@deploy/prerequisites.sh test
	cargo build --workspace --locked
	aggregator/capi/tests/run.sh target/debug

lint: $(CARGO_DENY) $(CBINDGEN)
	@deploy/prerequisites.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	@$(HEADER) --verify aggregator/capi || { echo 'include/framelock.h is not up to date: run make capi-header'; exit 1; }
	$(CARGO_DENY) --all-features check licenses bans sources

cross:
	@deploy/prerequisites.sh cross
	cross/build.sh armv7-unknown-linux-gnueabihf board
	cross/build.sh aarch64-unknown-linux-gnu board

board-test:
	@deploy/prerequisites.sh board-test
	tests/board/run.sh

bench: python
	@deploy/prerequisites.sh test
	@deploy/prerequisites.sh board-test
	cross/build.sh armv7-unknown-linux-gnueabihf board
	cargo build --release --locked --bins
	$(VENV)/bin/pip install --quiet --requirement aggregator/python/requirements.txt
	cargo bench --locked -p framelock-tests

fuzz: $(CARGO_FUZZ)
	@set -e; for target in $(FUZZ_TARGETS); do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
	  tests/fuzz/run.sh $$target $(FUZZ_SECONDS); \
	done

$(CARGO_DENY):
	cargo install cargo-deny --version 0.20.2 --locked --no-default-features --debug --root $(TOOLS) --target-dir target/tools/build

$(CBINDGEN):
	cargo install cbindgen --version 0.29.4 --locked --debug --root $(TOOLS) --target-dir target/tools/build

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version 0.13.2 --locked --debug --root $(TOOLS) --target-dir target/tools/build

$(VENV)/made:
	@deploy/prerequisites.sh python
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet numpy
	touch $@

$(TEST_VENV)/made: aggregator/python/requirements.txt
	@deploy/prerequisites.sh python
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/pip install --quiet --requirement $<
	touch $@
