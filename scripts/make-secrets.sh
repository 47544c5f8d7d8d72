#!/bin/sh
# Makes the secrets of nodes that run on this machine to be tried, once: DIR/index-secret and DIR/ring-secret.
#
#   scripts/make-secrets.sh DIR
set -eu
umask 077

for secret in index ring; do
    if [ ! -f "$1/$secret-secret" ]; then
        openssl rand -hex 32 >"$1/$secret-secret"
    fi
done
