#!/usr/bin/env bash
# Stops the servers that up.sh started under ROWMILL_STACK_DIR (default target/stack), and no others. The data is kept.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/lib.sh"
root="${ROWMILL_STACK_DIR:-$here/../../target/stack}"
"$here/elasticsearch/stop.sh" "$root/elasticsearch"
"$here/elasticsearch/stop.sh" "$root/elasticsearch-secured"
"$here/kafka/stop.sh" "$root/kafka"
