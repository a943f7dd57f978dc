#!/usr/bin/env bash
# Runs a cargo command that builds plugins, with the compiler that has the wasm target: with-wasm.sh cargo build …
# That is the pinned one, unless setup-wasm.sh had to take another and left its path in target/wasm-rustc.
set -euo pipefail
note="$(dirname "${BASH_SOURCE[0]}")/../target/wasm-rustc"
if [ -s "$note" ]; then
  RUSTC="$(cat "$note")"
  export RUSTC
fi
exec "$@"
