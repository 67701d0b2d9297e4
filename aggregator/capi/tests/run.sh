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
read -r -a found_static < <(pkg-config --cflags --libs framelock-static)

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
# Read to its end first: a grep that stops at its match kills objdump, and with pipefail that is a failure by chance.
dynamic=$(objdump -p "$prefix/lib/libframelock.so")
grep -q "SONAME *$(basename "$(readlink "$prefix/lib/libframelock.so")")$" <<< "$dynamic" ||
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
  for name in packets files wrong_use leaks with_senders; do compile "$compiler" "$name" "$here/$name.c" "$here/support.c"; done
  compile "$compiler" example_c "$here/../examples/packets.c"
  # shellcheck disable=SC2046 # words
  "$compiler" "${c_flags[@]}" -c "$here/support.c" $(pkg-config --cflags framelock) -o "$work/support.o"
done
for compiler in "${cpp_compilers[@]}"; do
  say "compiling with $compiler"
  compile "$compiler" wrapper "$here/wrapper.cpp" "$work/support.o"
  compile "$compiler" example_cpp "$here/../examples/packets.cpp"
done

# What is freed twice, used after, or left behind is seen in the library's allocations too: they are the program's.
say "compiling with sanitizers"
for name in wrong_use packets files; do compile cc "${name}_sanitized" -fsanitize=address,undefined "$here/$name.c" "$here/support.c"; done
compile cc support_sanitized.o -fsanitize=address,undefined -c "$here/support.c"
compile c++ wrapper_sanitized -fsanitize=address,undefined "$here/wrapper.cpp" "$work/support_sanitized.o"
echo 'int main(void) { framelock_config_new(); }' | compile cc leaky -fsanitize=address -include framelock.h -x c -
sanitized() { run 600 env ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1 "$@"; }

say "clips, and a web server with an image"
clip() { # SECONDS NAME
  ffmpeg -v error -nostdin -f lavfi -i "testsrc2=size=160x96:rate=25:duration=$1" -c:v libx264 -preset ultrafast -bf 2 "$2"
}
clip 2 "$work/long.mp4"
clip 1 "$work/short.mp4"
mkdir "$work/web"
ffmpeg -v error -nostdin -f lavfi -i color=red:size=64x48 -frames:v 1 -q:v 2 -pix_fmt yuvj420p "$work/web/red.jpg"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/web" 0 > "$work/web.log" 2>&1 &
trap "kill $!" EXIT
for _ in $(seq 600); do
  port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/web.log")
  [ -z "$port" ] || break
  sleep 0.1
done
[ -n "$port" ] || fail "the web server does not start: $(cat "$work/web.log")"
files=("$work/long.mp4" "$work/short.mp4" "http://127.0.0.1:$port/red.jpg")

cd "$work"
sanitized ./leaky > leaky.log 2>&1 && fail "the sanitizer does not see a leak in the library"
grep -q "LeakSanitizer: detected memory leaks" leaky.log || fail "the sanitizer does not run here: $(cat leaky.log)"
run 300 ./wrong_use
sanitized ./wrong_use_sanitized
run 600 ./packets
sanitized ./packets_sanitized
run 300 ./files "${files[@]}"
sanitized ./files_sanitized "${files[@]}"
run 600 ./wrapper long.mp4
sanitized ./wrapper_sanitized long.mp4
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
cc "${c_flags[@]}" "$here/wrong_use.c" "$here/support.c" "${found_static[@]}" -o wrong_use_static
dynamic=$(objdump -p wrong_use_static)
! grep -q libframelock <<< "$dynamic" || fail "not linked statically"
timeout 300 ./wrong_use_static
say "all is well"
