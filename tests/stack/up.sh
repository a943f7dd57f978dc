#!/usr/bin/env bash
# Starts the servers for the tests and prints their addresses for the calling shell:
#
#   eval "$(tests/stack/up.sh)"                  all servers
#   eval "$(tests/stack/up.sh elasticsearch)"    one of them (elasticsearch | kafka | elasticsearch-secured)
#
# Kafka has a second listener with TLS and SASL. The secured Elasticsearch is a separate node with TLS and users,
# and with so short a write queue that it rejects part of every large request.
#
# Data is stored under ROWMILL_STACK_DIR (default target/stack of this repository). Ports are the first free ones from 19200,
# 19300 and 19092. If ROWMILL_TEST_ELASTICSEARCH or ROWMILL_TEST_KAFKA is set, that server is used, and neither it nor a secured
# one is started. A second run finds the running servers. `down.sh` stops only these.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/lib.sh"

wanted=("$@"); [ $# -gt 0 ] || wanted=(elasticsearch kafka elasticsearch-secured)
root="$(absolute "${ROWMILL_STACK_DIR:-$here/../../target/stack}")"
exec 6>"$root/lock"; flock -w 1800 6 || die "another up.sh has held $root/lock for half an hour"

# The state before anything is started.
named_elasticsearch="${ROWMILL_TEST_ELASTICSEARCH:-}"
named_kafka="${ROWMILL_TEST_KAFKA:-}"
certificates="$root/certificates"

# port_of SERVER FIRST - prints the port of the server if it runs, otherwise the first free one from FIRST on. Kafka's listener
# with TLS is called kafka-secured.
port_of() {
  local port="$2" old mark pidfile
  case "$1" in
    elasticsearch*) mark="-Drowmill.stack.data=$root/$1"; pidfile="$root/$1/elasticsearch.pid" ;;
    kafka*) mark="$root/kafka/server.properties"; pidfile="$root/kafka/kafka.pid" ;;
  esac
  if pid_of "$pidfile" "$mark" >/dev/null && old="$(cat "$root/$1.port" 2>/dev/null)"; then
    echo "$old"
    return
  fi
  while port_open "$port"; do port=$((port + 1)); done
  echo "$port"
}

# start SERVER FIRST - starts it in the background, so that the servers start in parallel.
start() {
  local port
  port="$(port_of "$1" "$2")"
  printf '%s\n' "$port" >"$root/$1.port"
  "$here/${1%-secured}/start.sh" "$port" "$root/$1" >&2 6>&- &
  jobs+=("$!")
}

jobs=(); lines=()
for server in "${wanted[@]}"; do
  case "$server" in
    elasticsearch)
      if [ -z "$named_elasticsearch" ]; then
        start elasticsearch 19200
        ROWMILL_TEST_ELASTICSEARCH="http://127.0.0.1:$(cat "$root/elasticsearch.port")"
      fi
      lines+=("export ROWMILL_TEST_ELASTICSEARCH=$ROWMILL_TEST_ELASTICSEARCH") ;;
    kafka)
      if [ -z "$named_kafka" ]; then
        "$here/certificates.sh" "$certificates"
        secured="$(port_of kafka-secured 19192)"
        printf '%s\n' "$secured" >"$root/kafka-secured.port"
        KAFKA_SECURED="$secured" KAFKA_CERTIFICATES="$certificates" start kafka 19092
        ROWMILL_TEST_KAFKA="127.0.0.1:$(cat "$root/kafka.port")"
        lines+=("export ROWMILL_TEST_KAFKA_SECURED=127.0.0.1:$secured" "export ROWMILL_TEST_CERTIFICATES=$certificates")
      fi
      lines+=("export ROWMILL_TEST_KAFKA=$ROWMILL_TEST_KAFKA") ;;
    elasticsearch-secured)
      [ -z "$named_elasticsearch" ] || continue
      "$here/certificates.sh" "$certificates"
      ES_CERTIFICATES="$certificates" ES_HEAP="${ES_HEAP:-512m}" ES_WRITE_SIZE=1 ES_WRITE_QUEUE=1 start elasticsearch-secured 19300
      lines+=("export ROWMILL_TEST_ELASTICSEARCH_SECURED=https://127.0.0.1:$(cat "$root/elasticsearch-secured.port")"
        "export ROWMILL_TEST_CERTIFICATES=$certificates") ;;
    *) die "no server named '$server' (elasticsearch, kafka, elasticsearch-secured)" ;;
  esac
done
failed=0
for job in ${jobs[@]+"${jobs[@]}"}; do wait "$job" || failed=1; done
[ "$failed" = 0 ] || die "not every server started; tests/stack/down.sh ends those that did"
printf '%s\n' "${lines[@]}"
