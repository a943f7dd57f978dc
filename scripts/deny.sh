#!/usr/bin/env bash
# Checks licences, advisories, duplicates and sources of all dependencies with cargo-deny; installs it into target/tools if needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools="$PWD/target/tools"
PATH="$PATH:$tools/bin"
if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "deny: installing cargo-deny into target/tools (once; takes a few minutes)" >&2
  # It runs for seconds: a quick build is worth more than quick code.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_INCREMENTAL=0 cargo install cargo-deny --locked --root "$tools" --target-dir "$tools/build" </dev/null
  rm -rf "$tools/build"
fi
cargo deny --locked check licenses bans sources
# The advisories are a git repository on GitHub. If it cannot be reached, this prints a message and continues: only findings
# fail.
if timeout 120 cargo deny --locked fetch db </dev/null; then
  cargo deny --locked check advisories
else
  echo "deny: the advisory database cannot be fetched; advisories were NOT checked" >&2
fi
