#!/usr/bin/env bash
# Runs all tests against real servers: test.sh [ARGUMENT of cargo test]…
#
# Starts Kafka and Elasticsearch, plain and secured, on free ports and with fresh data, unless ROWMILL_TEST_KAFKA and
# ROWMILL_TEST_ELASTICSEARCH name servers (then tests of secured servers do not run). Always stops the servers that it started.
# Only the first run needs the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# For tests of components that import WASI; without this target they report that they did not run.
if command -v rustup >/dev/null 2>&1; then
  timeout 300 rustup target add wasm32-wasip2 </dev/null 2>/dev/null || echo "test: no target wasm32-wasip2" >&2
fi

# Build before the servers start: compilers and two Java servers do not fit on a small machine at once.
cargo test --workspace --no-run "$@"

# A separate folder, so that servers started manually in target/stack are neither used nor stopped.
ROWMILL_STACK_DIR="$PWD/target/stack-test"
export ROWMILL_STACK_DIR
stop() {
  local status=$?
  trap - EXIT INT TERM
  tests/stack/down.sh || status=1
  rm -rf "$ROWMILL_STACK_DIR"
  exit "$status"
}
if [ -z "${ROWMILL_TEST_KAFKA:-}" ] || [ -z "${ROWMILL_TEST_ELASTICSEARCH:-}" ]; then
  cache="${XDG_CACHE_HOME:-$HOME/.cache}/rowmill-stack"
  if ! compgen -G "$cache/elasticsearch-*" >/dev/null; then
    echo "test: the first run downloads a real Kafka and Elasticsearch, about 1 GB (200 MB stay in $cache);" >&2
    echo "test: later runs need no network, and \`make test-quick\` needs no servers" >&2
  fi
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  servers="$(tests/stack/up.sh)"
  eval "$servers"
fi
# Tests that need servers are marked `#[ignore = "needs …"]`, so that a run without servers lists them.
skip=()
if [ -z "${ROWMILL_TEST_KAFKA_SECURED:-}" ]; then
  echo "test: NOT RUN: tests of secured servers and of overload; they need the servers of tests/stack" >&2
  skip=(--skip secured:: --skip overload::)
fi
case " $* " in
  *" -- "*) cargo test --workspace --no-fail-fast "$@" --include-ignored "${skip[@]}" ;;
  *) cargo test --workspace --no-fail-fast "$@" -- --include-ignored "${skip[@]}" ;;
esac
