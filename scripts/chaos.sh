#!/usr/bin/env bash
# Runs the seeded suite of tests/chaos over large ranges: chaos.sh [TEST [FROM..TO]]
#
#   chaos.sh                      all of it, about an hour and a half on two cores
#   chaos.sh killed               one test with its large range
#   chaos.sh in_process 43..44    one seed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

declare -A ranges=([in_process]=0..10000 [killed]=0..200 [mixed]=0..200 [real]=0..20)
tests=(in_process killed mixed real)
if [ $# -gt 0 ]; then
  [ -n "${ranges[$1]:-}" ] || { echo "chaos: no test '$1'; there are: ${tests[*]}" >&2; exit 2; }
  tests=("$1")
  ranges[$1]="${2:-${ranges[$1]}}"
fi

# Always the whole workspace, as in `make test`: with one package alone cargo would build wasmtime a second time.
cargo test --workspace --no-run
failed=0
for test in "${tests[@]}"; do
  ROWMILL_CHAOS_SEEDS="${ranges[$test]}" cargo test --workspace --test chaos -- --include-ignored --nocapture --exact \
    "$(case "$test" in in_process) echo in_process::in_process ;; *) echo "processes::$test" ;; esac)" || failed=1
done
exit "$failed"
