#!/usr/bin/env bash
# Stops the Kafka node that start.sh started on DATADIR (only that pid); the topics are kept.
# usage: stop.sh DATADIR
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/../lib.sh"
[ $# -eq 1 ] || die "usage: stop.sh DATADIR"
[ -d "$1" ] || exit 0
data="$(cd "$1" && pwd -P)"
stop_pid Kafka "$data/kafka.pid" "$data/server.properties" 30
