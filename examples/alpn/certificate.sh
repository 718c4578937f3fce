#!/bin/sh
# Makes the hosts' certificate, which is its own authority.
set -eu
cd "$(dirname "$0")"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=app" -addext "subjectAltName=DNS:app.example" \
    -keyout tls.key -out tls.crt 2>/dev/null
