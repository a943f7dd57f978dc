#!/usr/bin/env bash
# Puts a built plugin into a plugin folder in one step: publish.sh BUILT.wasm FOLDER/NAME.wasm
# The gateway watches the folder and never sees an incomplete file: the copy has a hidden name until it is complete.
set -euo pipefail
built="$1" place="$2"
mkdir -p "$(dirname "$place")"
cmp -s "$built" "$place" && exit 0
part="$(dirname "$place")/.$(basename "$place").$$"
trap 'rm -f "$part"' EXIT
cp "$built" "$part"
mv "$part" "$place"
echo "$place: $(($(wc -c <"$place") / 1024)) KiB"
