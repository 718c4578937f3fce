#!/bin/sh
# Starts the three proxies; the socket.io server is to listen on 127.0.0.1:10030, clients come to 127.0.0.1:10000.
cd "$(dirname "$0")" || exit 1
nuncio=${NUNCIO:-nuncio}
for proxy in sidecar middle front; do
  "$nuncio" -c "$proxy.yaml" --concurrency 1 &
done
trap 'kill $(jobs -p)' INT TERM EXIT
wait
