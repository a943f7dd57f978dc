#!/usr/bin/env bash
# Runs the benchmarks of the pipeline: bench.sh [PART]…
#
# The part `null-sink` measures the pipeline without its ends (host/benches/pipeline.rs); `counting`, `elasticsearch`, `latency`,
# `stalls`, `letters` and `poison` measure it with real servers (tests/benches/flow). `elasticsearch-apart` is `elasticsearch` with
# one core for Elasticsearch alone, as on another machine, and one for everything else. Without arguments, `null-sink`, `counting`,
# `elasticsearch` and `latency` run.
#
# Starts Kafka and Elasticsearch on free ports and with fresh data, unless ROWMILL_TEST_KAFKA and ROWMILL_TEST_ELASTICSEARCH
# name servers. `elasticsearch-apart` always starts its own. Always stops the servers that it started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_null_sink=false
has_apart=false
has_flow=false
flow=()
for part in "$@"; do
  case "$part" in
    null-sink) has_null_sink=true ;;
    elasticsearch-apart) has_apart=true ;;
    *) has_flow=true; flow+=("$part") ;;
  esac
done
if [ $# = 0 ]; then
  has_null_sink=true
  has_flow=true
fi
if [ "$has_apart" = true ] && { ! command -v taskset >/dev/null || [ "$(nproc)" -lt 2 ]; }; then
  echo "bench: elasticsearch-apart needs two cores and taskset (of util-linux)" >&2
  exit 1
fi

# Build before the servers start: compilers and two Java servers do not fit on a small machine at once. The bench `pipeline`
# is in the gateway's package, so that cargo builds the gateway too, which `flow` runs.
cargo bench --workspace --bench pipeline --bench flow --no-run
if [ "$has_null_sink" = true ]; then
  cargo bench --workspace --bench pipeline
fi

# A separate folder, so that servers started manually in target/stack are neither used nor stopped.
ROWMILL_STACK_DIR="$PWD/target/stack-bench"
export ROWMILL_STACK_DIR
down() {
  tests/stack/down.sh && rm -rf "$ROWMILL_STACK_DIR"
}
stop() {
  local status=$?
  trap - EXIT INT TERM
  down || status=1
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ "$has_flow" = true ]; then
  servers=""
  if [ -z "${ROWMILL_TEST_KAFKA:-}" ] || [ -z "${ROWMILL_TEST_ELASTICSEARCH:-}" ]; then
    servers="$(tests/stack/up.sh kafka elasticsearch)"
  fi
  (eval "$servers"; cargo bench --workspace --bench flow ${flow[@]+-- "${flow[@]}"})
fi
if [ "$has_apart" = true ]; then
  unset ROWMILL_TEST_KAFKA ROWMILL_TEST_ELASTICSEARCH
  down
  # A server sizes its thread pools by the cores that it may use when it starts.
  servers="$(taskset -c 0 tests/stack/up.sh elasticsearch; taskset -c 1 tests/stack/up.sh kafka)"
  eval "$servers"
  echo "== a core for Elasticsearch alone"
  taskset -c 1 cargo bench --workspace --bench flow -- elasticsearch
fi
