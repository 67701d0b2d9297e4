#!/usr/bin/env bash
# Runs one fuzz target for some seconds: tests/fuzz/run.sh TARGET [SECONDS]
# The seeds are in tests/fuzz/corpus/TARGET; what the fuzzer adds goes to target/fuzz, never into the tree.
# Works on a stable compiler: coverage instrumentation without a sanitizer.
set -euo pipefail
cd "$(dirname "$0")/../.."
fuzz_target=${1:?usage: tests/fuzz/run.sh TARGET [SECONDS]}
seconds=${2:-60}
cargo_fuzz=target/tools/bin/cargo-fuzz
[ -x "$cargo_fuzz" ] || { echo "fuzz: $cargo_fuzz is missing: run 'make fuzz' once, it installs it" >&2; exit 1; }

found=target/fuzz/found/$fuzz_target seeds=tests/fuzz/corpus/$fuzz_target
mkdir -p "$found" "target/fuzz/artifacts/$fuzz_target"
log=target/fuzz/$fuzz_target.log
if ! "$cargo_fuzz" fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build --sanitizer none "$fuzz_target" "$found" "$seeds" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="target/fuzz/artifacts/$fuzz_target/" >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  echo "fuzz: $fuzz_target failed; the input is in target/fuzz/artifacts/$fuzz_target" >&2
  exit 1
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
[ "${runs:-0}" -gt 100 ] || { tail -n 20 "$log" >&2; echo "fuzz: $fuzz_target ran only ${runs:-0} inputs" >&2; exit 1; }
echo "$fuzz_target: $runs inputs in $seconds s, no failure"
