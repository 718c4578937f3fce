#!/bin/sh
# Makes a certificate for the name that is given, and moves it and its key into the place of those that are here.
set -eu
cd "$(dirname "$0")"
new=$(mktemp -d ./new.XXXXXX)
trap 'rm -rf "$new"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$1" -addext "subjectAltName=DNS:$1" \
    -keyout "$new/tls.key" -out "$new/tls.crt" 2>/dev/null
mv "$new/tls.key" tls.key
mv "$new/tls.crt" tls.crt
