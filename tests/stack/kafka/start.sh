#!/usr/bin/env bash
# Starts one real Apache Kafka node (KRaft: broker and controller in one process) on 127.0.0.1; returns when it serves.
#
#   start.sh PORT DATADIR      (the controller listens on KAFKA_CONTROLLER_PORT, default the next free after PORT)
#
# Optional environment: KAFKA_HEAP=512m  KAFKA_PARTITIONS=3  KAFKA_EXTRA="key=value key=value" (more broker settings)
# The first run downloads about 70 MB (Apache-2.0); later runs need no network. DATADIR keeps the topics.
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
controller="${KAFKA_CONTROLLER_PORT:-}"
if [ -z "$controller" ]; then
  controller=$((port + 1))
  while port_open "$controller"; do controller=$((controller + 1)); done
fi
check_port "$controller"

{
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
  for setting in ${KAFKA_EXTRA:-}; do printf '%s\n' "$setting"; done
} >"$conf"

if [ ! -f "$data/log/meta.properties" ]; then
  id="$("$java" -Xmx96m "$quiet" -cp "$JARS/*" kafka.tools.StorageTool random-uuid)" || die "random-uuid failed"
  "$java" -Xmx128m "$quiet" -cp "$JARS/*" kafka.tools.StorageTool format -t "$id" -c "$conf" >"$data/format.log" 2>&1 ||
    { problems "$data/format.log"; die "Kafka's storage could not be formatted"; }
fi

: >"$log"
heap="${KAFKA_HEAP:-512m}"
SECONDS=0
setsid "$java" -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:-UsePerfData -Djava.awt.headless=true \
  -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$JARS/*" kafka.Kafka "$conf" >>"$log" 2>&1 </dev/null 9>&- &
echo $! >"$pidfile"
for _ in $(seq 300); do
  # The log line is the broker's own word that it left recovery and serves clients; the port is then open too.
  if grep -q 'Kafka Server started' "$log" && port_open "$port"; then
    say "Kafka on 127.0.0.1:$port, pid $(cat "$pidfile"), ready after $SECONDS s"
    exit 0
  fi
  kill -0 "$(cat "$pidfile")" 2>/dev/null || { problems "$log"; rm -f "$pidfile"; die "Kafka ended while starting (log: $log)"; }
  sleep 0.2
done
problems "$log"; die "Kafka is not ready after 60 s (log: $log)"
