#!/usr/bin/env bash
# Starts the real servers that the tests talk to and prints where they are, for the shell that calls it:
#
#   eval "$(tests/stack/up.sh)"                  both
#   eval "$(tests/stack/up.sh elasticsearch)"    one alone (elasticsearch | kafka)
#
# Data goes under ROWMILL_STACK_DIR (default target/stack of this repository), ports start at 19200 and 19092 and move
# on to the next free one. A server that ROWMILL_TEST_ELASTICSEARCH or ROWMILL_TEST_KAFKA already names is taken as it
# is and nothing is started for it. Run again, it finds what it started before. `down.sh` ends only that.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/lib.sh"

wanted=("$@"); [ $# -gt 0 ] || wanted=(elasticsearch kafka)
root="$(absolute "${ROWMILL_STACK_DIR:-$here/../../target/stack}")"
exec 6>"$root/lock"; flock -w 1800 6 || die "another up.sh has held $root/lock for half an hour"

# port_of SERVER FIRST - the port of the server if it runs, else the first free one from FIRST on.
port_of() {
  local port="$2" old mark
  case "$1" in
    elasticsearch) mark="-Drowmill.stack.data=$root/elasticsearch" ;;
    kafka) mark="$root/kafka/server.properties" ;;
  esac
  if pid_of "$root/$1/$1.pid" "$mark" >/dev/null && old="$(cat "$root/$1.port" 2>/dev/null)"; then
    echo "$old"
    return
  fi
  while port_open "$port"; do port=$((port + 1)); done
  echo "$port"
}

# start SERVER FIRST - in the background, so that the two start side by side.
start() {
  local port
  port="$(port_of "$1" "$2")"
  printf '%s\n' "$port" >"$root/$1.port"
  "$here/$1/start.sh" "$port" "$root/$1" >&2 6>&- &
  jobs+=("$!")
}

jobs=(); lines=()
for server in "${wanted[@]}"; do
  case "$server" in
    elasticsearch)
      if [ -z "${ROWMILL_TEST_ELASTICSEARCH:-}" ]; then
        start elasticsearch 19200
        ROWMILL_TEST_ELASTICSEARCH="http://127.0.0.1:$(cat "$root/elasticsearch.port")"
      fi
      lines+=("export ROWMILL_TEST_ELASTICSEARCH=$ROWMILL_TEST_ELASTICSEARCH") ;;
    kafka)
      if [ -z "${ROWMILL_TEST_KAFKA:-}" ]; then
        start kafka 19092
        ROWMILL_TEST_KAFKA="127.0.0.1:$(cat "$root/kafka.port")"
      fi
      lines+=("export ROWMILL_TEST_KAFKA=$ROWMILL_TEST_KAFKA") ;;
    *) die "no server named '$server' (elasticsearch, kafka)" ;;
  esac
done
failed=0
for job in ${jobs[@]+"${jobs[@]}"}; do wait "$job" || failed=1; done
[ "$failed" = 0 ] || die "not every server started; tests/stack/down.sh ends those that did"
printf '%s\n' "${lines[@]}"
