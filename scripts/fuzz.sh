#!/usr/bin/env bash
# Fuzzes for a minute per target: fuzz.sh [TARGET…]. Installs cargo-fuzz into target/tools if needed.
#
# SECONDS_PER_TARGET changes the time. New inputs are stored in target/fuzz-corpus; the committed ones are in fuzz/corpus. After
# a crash, the input is in fuzz/artifacts and the exit code is not 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools="$PWD/target/tools"
PATH="$PATH:$tools/bin"
if ! command -v cargo-fuzz >/dev/null 2>&1; then
  echo "fuzz: installing cargo-fuzz into target/tools (once)" >&2
  cargo install cargo-fuzz --locked --root "$tools" --target-dir "$tools/build" </dev/null
  rm -rf "$tools/build"
fi
targets=("$@")
[ $# -gt 0 ] || targets=(decode answer dead_letter bulk_answer configuration)
for target in "${targets[@]}"; do
  features=()
  case "$target" in bulk_answer | configuration) features=(--features gateway) ;; esac
  corpus="target/fuzz-corpus/$target"
  mkdir -p "$corpus"
  # Without a sanitizer the pinned stable compiler does: all of our code is safe Rust.
  cargo fuzz run --sanitizer none "${features[@]}" --target-dir "$PWD/target/fuzz" "$target" "$corpus" "fuzz/corpus/$target" -- \
    -max_total_time="${SECONDS_PER_TARGET:-60}" -timeout=10 -rss_limit_mb=2048
done
