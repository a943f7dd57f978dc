#!/usr/bin/env bash
# Runs the benchmarks of the pipeline: bench.sh [PART]…
#
# The part `null-sink` measures the pipeline without its ends (host/benches/pipeline.rs); `counting`, `elasticsearch`, `latency`
# and `stalls` measure it with real servers (tests/benches/flow). Without arguments, all but `stalls` run.
#
# Starts Kafka and Elasticsearch on free ports and with fresh data, unless ROWMILL_TEST_KAFKA and ROWMILL_TEST_ELASTICSEARCH
# name servers. Always stops the servers that it started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_null_sink=false
flow=()
for part in "$@"; do
  case "$part" in
    null-sink) has_null_sink=true ;;
    *) flow+=("$part") ;;
  esac
done
[ $# -gt 0 ] || has_null_sink=true

# Build before the servers start: compilers and two Java servers do not fit on a small machine at once. The bench `pipeline`
# is in the gateway's package, so that cargo builds the gateway too, which `flow` runs.
cargo bench --workspace --bench pipeline --bench flow --no-run
if [ "$has_null_sink" = true ]; then
  cargo bench --workspace --bench pipeline
  [ $# = 0 ] || [ ${#flow[@]} -gt 0 ] || exit 0
fi

# A separate folder, so that servers started manually in target/stack are neither used nor stopped.
ROWMILL_STACK_DIR="$PWD/target/stack-bench"
export ROWMILL_STACK_DIR
stop() {
  local status=$?
  trap - EXIT INT TERM
  tests/stack/down.sh || status=1
  rm -rf "$ROWMILL_STACK_DIR"
  exit "$status"
}
if [ -z "${ROWMILL_TEST_KAFKA:-}" ] || [ -z "${ROWMILL_TEST_ELASTICSEARCH:-}" ]; then
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  servers="$(tests/stack/up.sh kafka elasticsearch)"
  eval "$servers"
fi
cargo bench --workspace --bench flow ${flow[@]+-- "${flow[@]}"}
