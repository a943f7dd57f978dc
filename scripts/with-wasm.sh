#!/usr/bin/env bash
# Runs a cargo command that builds plugins with the compiler that has the wasm target: with-wasm.sh cargo build …
# That is the pinned one, unless setup-wasm.sh had to use another and wrote its path and linker to target/wasm-rustc.
set -euo pipefail
note="$(dirname "${BASH_SOURCE[0]}")/../target/wasm-rustc"
if [ -s "$note" ]; then
  { read -r RUSTC; read -r CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER; } <"$note"
  export RUSTC CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER
fi
exec "$@"
