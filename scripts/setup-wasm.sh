#!/usr/bin/env bash
# Makes sure that plugins can be built: a compiler with the standard library for wasm32-unknown-unknown.
#
# 1. If it exists, there is nothing to do.
# 2. Otherwise rustup fetches it.
# 3. If rustup cannot (no rustup, or its server cannot be reached): Debian's compiler for web browsers includes the source of its
#    standard library, which is then built for wasm. The paths of that compiler and its linker are written to target/wasm-rustc,
#    where with-wasm.sh and the tests find them; the pinned compiler still builds the gateway.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TARGET=wasm32-unknown-unknown
note=target/wasm-rustc

say() { echo "setup: $*" >&2; }
die() { echo "setup: error: $*" >&2; exit 1; }

# A file beside a standard library that this script built; it names the compiler.
built_by=rowmill-built-by

# has_target RUSTC - true if this compiler has a standard library for wasm. One that this script built for an older version of
# the compiler does not count.
has_target() {
  local libs
  libs="$("$1" --print target-libdir --target "$TARGET" 2>/dev/null)" && compgen -G "$libs/libstd-*.rlib" >/dev/null &&
    { [ ! -f "$libs/$built_by" ] || [ "$(cat "$libs/$built_by")" = "$("$1" --version)" ]; }
}

# debian_rustc - prints Debian's compiler that has the source of its standard library. Debian's compilers are in /usr; another
# rustc may be first in PATH.
debian_rustc() {
  local candidate found=""
  for candidate in /usr/lib/rust-*/bin/rustc /usr/bin/rustc /usr/bin/rustc-*; do
    if [ -x "$candidate" ] && [ -f "$("$candidate" --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; then
      found="$candidate"
    fi
  done
  [ -n "$found" ] && printf '%s\n' "$found"
}

# take RUSTC - makes this compiler and the newest wasm linker build plugins from now on.
take() {
  local linker
  linker="$(compgen -c wasm-ld | sort -V | tail -n 1)"
  [ -n "$linker" ] || return 1
  mkdir -p target
  printf '%s\n' "$1" "$(command -v "$linker")" >"$note"
  say "plugins will be built by $("$1" --version)"
}

if [ -s "$note" ] && has_target "$(head -n 1 "$note")"; then exit 0; fi
if has_target rustc; then rm -f "$note"; exit 0; fi

if command -v rustup >/dev/null 2>&1; then
  say "fetching the standard library for $TARGET (rustup)"
  # The toolchain that rust-toolchain.toml names; a server out of reach must not hold this up for long.
  if timeout 300 rustup target add "$TARGET" </dev/null && has_target rustc; then exit 0; fi
  say "rustup could not fetch it"
fi

# If another clone on this machine has done this before, no network is needed.
if rustc="$(debian_rustc)" && has_target "$rustc" && take "$rustc"; then exit 0; fi

command -v apt-get >/dev/null 2>&1 || die "no rustup target and no apt-get: install Rust's target $TARGET manually"
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || die "run as root, or: apt-get install rustc-web rust-web-src lld"
  as_root=(sudo -n)
fi
say "taking Debian's compiler and building its standard library for $TARGET (about 150 MB to download)"
# The linker must have the compiler's LLVM version or a newer one.
"${as_root[@]}" apt-get update -qq
lld="$(apt-cache --names-only search '^lld-[0-9]+$' | awk '{ print $1 }' | sort -t- -k2 -n | tail -n 1)"
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends rustc-web rust-web-src "${lld:-lld}" </dev/null >/dev/null

rustc="$(debian_rustc)" || die "Debian's packages contain no compiler with the source of its standard library"

# -Zbuild-std is for nightly compilers; the variable makes this one accept it. The crate is empty, since only std is needed.
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src"
printf '[package]\nname = "empty"\nedition = "2021"\n[workspace]\n[profile.release]\npanic = "abort"\n' >"$work/Cargo.toml"
echo '#![no_std]' >"$work/src/lib.rs"
RUSTC="$rustc" RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0 cargo build --release --manifest-path "$work/Cargo.toml" \
  --target "$TARGET" --target-dir "$work/target" -Zbuild-std=std,panic_abort </dev/null
libs="$("$rustc" --print target-libdir --target "$TARGET")"
"${as_root[@]}" mkdir -p "$libs"
# Remove files built for another compiler.
if [ -f "$libs/$built_by" ]; then "${as_root[@]}" rm -f "$libs/"*.rlib "$libs/$built_by"; fi
for rlib in "$work/target/$TARGET/release/deps/"lib*.rlib; do
  case "$rlib" in */libempty-*) ;; *) "${as_root[@]}" cp "$rlib" "$libs/" ;; esac
done
"$rustc" --version | "${as_root[@]}" tee "$libs/$built_by" >/dev/null
has_target "$rustc" || die "the standard library was built, but $rustc does not find it in $libs"
take "$rustc" || die "${lld:-lld} contains no wasm-ld"
