#!/usr/bin/env bash
# Tests the C library as its users meet it: installed, found by pkg-config, compiled against with every compiler there
# is, and run against real senders. `make test-capi` builds what is needed before.
#
#   aggregator/capi/tests/run.sh BUILT     BUILT: where cargo put the library and framelock-sender
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
built=$(realpath "$1")
work=$built/capi-test
prefix=$work/prefix
rm -rf "$work"
mkdir -p "$work"
"$here/../install.sh" "$built" "$prefix"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export FRAMELOCK_SENDER=$built/framelock-sender
unset RUST_LOG
c_flags=(-std=c11 -Wall -Wextra -Werror -pedantic -g -O1)
cpp_flags=(-std=c++17 -Wall -Wextra -Werror -pedantic -g -O1)
read -r -a found < <(pkg-config --cflags --libs framelock)
read -r -a found_static < <(pkg-config --static --cflags --libs framelock)

say() { echo "--- $*"; }
fail() { echo "capi: $*" >&2; exit 1; }

say "the library exports what the header declares, and nothing else"
grep -o '\bframelock_[a-z0-9_]*(' "$prefix/include/framelock.h" | tr -d '(' | sort -u > "$work/called"
grep -E '^[^ /#].*\bframelock_[a-z0-9_]+\(' "$prefix/include/framelock.h" | grep -v '^typedef' |
  grep -oE 'framelock_[a-z0-9_]+\(' | tr -d '(' | sort -u > "$work/declared"
nm -D --defined-only "$prefix/lib/libframelock.so" | awk '{ print $3 }' | sort -u > "$work/exported"
diff "$work/declared" "$work/exported"
# What its documentation speaks of exists.
[ -z "$(comm -23 "$work/called" "$work/declared")" ] || fail "the header names $(comm -23 "$work/called" "$work/declared")"
objdump -p "$prefix/lib/libframelock.so" | grep -q "SONAME *$(basename "$(readlink "$prefix/lib/libframelock.so")")$" ||
  fail "the library's name is not that of its link"

compile() { # COMPILER OUT SOURCE...
  local compiler=$1 out=$2 flags=("${c_flags[@]}")
  shift 2
  case $compiler in *++) flags=("${cpp_flags[@]}") ;; esac
  "$compiler" "${flags[@]}" "$@" "${found[@]}" -pthread -o "$work/$out"
}

run() { # SECONDS COMMAND...
  local limit=$1
  shift
  say "$*"
  LD_LIBRARY_PATH=$prefix/lib timeout "$limit" "$@"
}

c_compilers=(cc)
cpp_compilers=(c++)
for extra in gcc clang; do command -v "$extra" >/dev/null && c_compilers+=("$extra"); done
for extra in g++ clang++; do command -v "$extra" >/dev/null && cpp_compilers+=("$extra"); done
for compiler in "${c_compilers[@]}"; do
  say "compiling with $compiler"
  for name in packets wrong_use leaks with_senders; do compile "$compiler" "$name" "$here/$name.c" "$here/support.c"; done
  compile "$compiler" example_c "$here/../examples/packets.c"
  # shellcheck disable=SC2046 # words
  "$compiler" "${c_flags[@]}" -c "$here/support.c" $(pkg-config --cflags framelock) -o "$work/support.o"
done
for compiler in "${cpp_compilers[@]}"; do
  say "compiling with $compiler"
  compile "$compiler" wrapper "$here/wrapper.cpp" "$work/support.o"
  compile "$compiler" example_cpp "$here/../examples/packets.cpp"
done

cd "$work"
run 300 ./wrong_use
# Definite leaks and invalid memory; what other libraries leave uninitialized in their padding is not ours.
run 600 valgrind --quiet --error-exitcode=9 --undef-value-errors=no --leak-check=full --errors-for-leak-kinds=definite ./wrong_use
run 600 ./packets
run 600 ./wrapper
run 600 ./leaks
for example in ./example_c ./example_cpp; do
  run 300 ./with_senders $example 60 > example.log
  # Every packet is told, and the cameras are there with their boards' times once the senders run.
  [ "$(grep -c '^packet ' example.log)" = 60 ] || fail "$example: $(cat example.log)"
  for camera in left right; do
    grep -qE "^  $camera: [0-9]{19} ns \+-[0-9]+ by (sender-report|in-band), 320x240, brightness [0-9.]+$" example.log ||
      fail "$example: $(cat example.log)"
  done
  LD_LIBRARY_PATH=$prefix/lib $example 1 left srt://:5000 2> example.log && fail "$example takes a source that is none"
  grep -q "unknown kind of source" example.log || fail "$example: $(cat example.log)"
done

say "the static library"
cc "${c_flags[@]}" "$here/wrong_use.c" "$here/support.c" "${found_static[@]/-lframelock/-l:libframelock.a}" -pthread -o wrong_use_static
! objdump -p wrong_use_static | grep -q libframelock || fail "not linked statically"
timeout 300 ./wrong_use_static
say "all is well"
