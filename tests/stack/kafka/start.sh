#!/usr/bin/env bash
# Starts one Apache Kafka node (KRaft: broker and controller in one process) on 127.0.0.1; returns when it is ready.
#
#   start.sh PORT DATADIR      (the controller listens on KAFKA_CONTROLLER_PORT, default the next free port after PORT)
#
# Optional environment: KAFKA_HEAP=512m  KAFKA_PARTITIONS=3  KAFKA_EXTRA="key=value key=value" (additional broker settings)
#   KAFKA_SECURED=PORT KAFKA_CERTIFICATES=DIR   a second listener on PORT with TLS (certificates in DIR) and SASL
#                                               (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; user rowmill, password stack-secret)
# The first run downloads about 70 MB (Apache-2.0); later runs need no network. The topics are stored in DATADIR.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/../lib.sh"

[ $# -eq 2 ] || die "usage: start.sh PORT DATADIR"
port="$1"; check_port "$port"
data="$(absolute "$2")"; pidfile="$data/kafka.pid"; log="$data/kafka.log"; conf="$data/server.properties"

need_java
java="$(java_home)/bin/java"
jars "$here" "70 MB"
quiet="-Dlog4j2.configurationFile=$here/log4j2-quiet.properties"

exec 9>"$data/lock"; flock -w 120 9 || die "another start.sh works on $data"
if pid="$(pid_of "$pidfile" "$conf")"; then
  grep -q "^listeners=PLAINTEXT://127.0.0.1:$port," "$conf" || die "pid $pid already serves $data on another port"
  say "Kafka already runs on 127.0.0.1:$port, pid $pid"
  exit 0
fi
! port_open "$port" || die "port $port is already in use"
secured="${KAFKA_SECURED:-}"
if [ -n "$secured" ]; then
  check_port "$secured"
  ! port_open "$secured" || die "port $secured is already in use"
  [ -f "${KAFKA_CERTIFICATES:-}/server-chain.pem" ] || die "KAFKA_CERTIFICATES names no folder that certificates.sh made"
fi
controller="${KAFKA_CONTROLLER_PORT:-}"
if [ -z "$controller" ]; then
  controller=$((port + 1))
  while port_open "$controller" || [ "$controller" = "$secured" ]; do controller=$((controller + 1)); done
fi
check_port "$controller"

{
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller${secured:+,SECURED://127.0.0.1:$secured}
advertised.listeners=PLAINTEXT://127.0.0.1:$port${secured:+,SECURED://127.0.0.1:$secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$data/log
num.partitions=${KAFKA_PARTITIONS:-3}
auto.create.topics.enable=true
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
log.retention.hours=-1
PROPERTIES
  if [ -n "$secured" ]; then
    scram=org.apache.kafka.common.security.scram.ScramLoginModule
    cat <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_CERTIFICATES/server-chain.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_rowmill="stack-secret";
listener.name.secured.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.secured.scram-sha-512.sasl.jaas.config=$scram required;
PROPERTIES
  fi
  for setting in ${KAFKA_EXTRA:-}; do printf '%s\n' "$setting"; done
} >"$conf"

if [ ! -f "$data/log/meta.properties" ]; then
  id="$("$java" -Xmx96m "$quiet" -cp "$JARS/*" kafka.tools.StorageTool random-uuid)" || die "random-uuid failed"
  # SCRAM passwords are part of the cluster metadata, so they are set here.
  scrams=()
  for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    [ -z "$secured" ] || scrams+=(--add-scram "$mechanism=[name=rowmill,password=stack-secret]")
  done
  "$java" -Xmx128m "$quiet" -cp "$JARS/*" kafka.tools.StorageTool format -t "$id" -c "$conf" \
    ${scrams[@]+"${scrams[@]}"} >"$data/format.log" 2>&1 ||
    { problems "$data/format.log"; die "Kafka's storage could not be formatted"; }
fi

: >"$log"
heap="${KAFKA_HEAP:-512m}"
SECONDS=0
setsid "$java" -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:-UsePerfData -Djava.awt.headless=true \
  -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$JARS/*" kafka.Kafka "$conf" >>"$log" 2>&1 </dev/null 9>&- &
echo $! >"$pidfile"
for _ in $(seq 300); do
  # With this log line, the broker has finished recovery and serves clients; its port is open.
  if grep -q 'Kafka Server started' "$log" && port_open "$port"; then
    say "Kafka on 127.0.0.1:$port, pid $(cat "$pidfile"), ready after $SECONDS s"
    exit 0
  fi
  kill -0 "$(cat "$pidfile")" 2>/dev/null || { problems "$log"; rm -f "$pidfile"; die "Kafka ended while starting (log: $log)"; }
  sleep 0.2
done
problems "$log"; die "Kafka is not ready after 60 s (log: $log)"
