# Helpers of the scripts in this folder; sourced, never run.
# These helpers write only to the caller's data directory and the cache.

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/rowmill-stack"

say() { [ -n "${STACK_QUIET:-}" ] || echo "stack: $*" >&2; }
die() { echo "stack: error: $*" >&2; exit 1; }

# need COMMAND PACKAGE... - if COMMAND is missing, install the first available Debian package of the list.
need() {
  local command="$1" package log; shift
  command -v "$command" >/dev/null 2>&1 && return 0
  command -v apt-get >/dev/null 2>&1 || die "'$command' is missing: install it (Debian's package: $1)"
  [ "$(id -u)" = 0 ] || die "'$command' is missing: apt-get install -y $1"
  log="$(mktemp)"
  exec 7>/tmp/rowmill-stack-apt.lock; flock 7
  say "installing $1 for '$command'"
  for package in "$@"; do
    command -v "$command" >/dev/null 2>&1 && break
    { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" ||
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; }
    } >"$log" 2>&1 7>&- && break
  done
  flock -u 7; exec 7>&-
  command -v "$command" >/dev/null 2>&1 || { tail -n 5 "$log" >&2; rm -f "$log"; die "could not install $1"; }
  rm -f "$log"
}

need_java() { need java openjdk-21-jre-headless openjdk-17-jre-headless; }

# java_home - prints the home of Java 17 or newer: JAVA_HOME if it is set, otherwise from java in PATH.
java_home() {
  local home version
  if [ -n "${JAVA_HOME:-}" ]; then home="$JAVA_HOME"
  else home="$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")"; fi
  [ -x "$home/bin/java" ] || die "no java in $home/bin"
  version="$("$home/bin/java" -version 2>&1 | sed -n 's/.* version "\([0-9][0-9]*\).*/\1/p')"
  [ "${version:-0}" -ge 17 ] || die "Java 17 or newer is needed, $home has '$version'"
  printf '%s\n' "$home"
}

# jars POM_DIR - resolve POM_DIR/pom.xml once into the cache; sets JARS to the folder of jars.
# The folder is named after the content of the pom: a changed pom is resolved again, an unchanged one needs no network.
jars() {
  local pom="$1/pom.xml" sum part log
  sum="$(sha256sum "$pom" | cut -c1-16)"
  JARS="$CACHE/$(basename "$1")-$sum"
  [ -f "$JARS/.complete" ] && return 0
  need mvn maven
  mkdir -p "$CACHE"
  exec 8>"$JARS.lock"; flock 8
  if [ ! -f "$JARS/.complete" ]; then
    say "first run: fetching $(basename "$1") through Maven (about $2)"
    part="$JARS.part"; rm -rf "$part" "$JARS"; mkdir -p "$part"; log="$JARS.log"
    mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$part" >"$log" 2>&1 </dev/null ||
      { grep ERROR "$log" | head -n 3 >&2; die "Maven could not resolve $pom (log: $log)"; }
    touch "$part/.complete"; mv "$part" "$JARS"; rm -f "$log"
  fi
  flock -u 8; exec 8>&-
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

check_port() {
  case "$1" in '' | *[!0-9]*) die "not a port: '$1'" ;; esac
  [ "$1" -ge 1 ] && [ "$1" -le 65535 ] || die "not a port: '$1'"
}

# pid_of PIDFILE WORD - prints the recorded pid if it runs and its command line contains WORD, so that a pid reused by another
# program is never mistaken for ours.
pid_of() {
  local pid
  pid="$({ tr -cd 0-9 <"$1"; } 2>/dev/null)" || return 1
  [ -n "$pid" ] && ! ended "$pid" || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$2" && printf '%s\n' "$pid"
}

# ended PID - true if the process has ended with all its threads, even if its parent has not reaped it yet.
ended() {
  local tasks=(/proc/"$1"/task/*)
  [ -d "/proc/$1" ] || return 0
  [ "${#tasks[@]}" -le 1 ] && ! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"
}

# stop_pid NAME PIDFILE WORD SECONDS - TERM, wait, KILL that pid alone; quiet and successful if nothing runs.
stop_pid() {
  local pid i
  if pid="$(pid_of "$2" "$3")"; then
    kill -TERM "$pid" 2>/dev/null || die "may not end pid $pid of $1; it belongs to another user"
    for ((i = 0; i < $4 * 10; i++)); do ended "$pid" && break; sleep 0.1; done
    if ! ended "$pid"; then
      say "$1: pid $pid ignored TERM for $4 s, killed"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    say "$1: stopped pid $pid"
  fi
  rm -f "$2"
}

# problems LOG - prints the errors in a log without stack frames, or its last lines.
problems() {
  { grep -v '^[[:space:]]*at ' "$1" | grep -E 'FAILED|ERROR|Exception' | awk '!seen[$0]++' | head -n 6 | cut -c1-400 | grep . ||
    tail -n 8 "$1"; } >&2
}

# absolute DIR - creates DIR and prints its absolute path; refuses characters that the servers' configuration files cannot contain.
absolute() {
  case "$1" in *[[:space:]:\"\\]*) die "no blanks, colons, quotes or backslashes in a data directory, please: $1" ;; esac
  mkdir -p "$1" && (cd "$1" && pwd -P)
}
