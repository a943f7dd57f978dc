#!/usr/bin/env bash
# Creates the certificates of the secured servers, once: certificates.sh DIR
#
#   ca.pem              the authority that signed the servers' certificate
#   server.pem, .key    a certificate for 127.0.0.1 and localhost, and its key
#   server-chain.pem    key and certificate in one file, as Kafka expects them
#   other-ca.pem        an authority that signed nothing here
#
# Only for tests on the loopback address: the keys have no password.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$here/lib.sh"
[ $# -eq 1 ] || die "usage: certificates.sh DIR"
need openssl openssl
dir="$(absolute "$1")"
# They are valid for a year, and an existing stack may be older.
[ -f "$dir/.complete" ] && openssl x509 -checkend 86400 -noout -in "$dir/server.pem" >/dev/null && exit 0
rm -f "$dir/.complete"
umask 077

authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 365 -subj "/CN=$2" -keyout "$dir/$1.key" -out "$dir/$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
authority ca "Rowmill's test authority"
authority other-ca "An authority that signed nothing"
openssl req -newkey rsa:2048 -nodes -sha256 -subj /CN=localhost -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
printf '%s\n' 'subjectAltName=IP:127.0.0.1,DNS:localhost' 'basicConstraints=CA:FALSE' \
  'keyUsage=digitalSignature,keyEncipherment' 'extendedKeyUsage=serverAuth' >"$dir/server.ext"
openssl x509 -req -sha256 -days 365 -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
  -extfile "$dir/server.ext" -out "$dir/server.pem" 2>/dev/null
cat "$dir/server.key" "$dir/server.pem" "$dir/ca.pem" >"$dir/server-chain.pem"
touch "$dir/.complete"
say "certificates in $dir"
