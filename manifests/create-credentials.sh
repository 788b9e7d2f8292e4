#!/usr/bin/env bash
# Make the secret of the store that comes with the overlays dev, gpu and multi-user: random keys, once for a namespace.
set -euo pipefail
[ $# = 1 ] || { echo "usage: manifests/create-credentials.sh NAMESPACE" >&2; exit 2; }
if kubectl -n "$1" get secret rlnas-store > /dev/null 2>&1; then
    echo "secret rlnas-store is there already and stays as it is"
    exit
fi
random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }
# As files, because arguments are shown to every user of the machine.
kubectl -n "$1" create secret generic rlnas-store --from-file=accesskey=<(random 15) --from-file=secretkey=<(random 30)
kubectl -n "$1" label secret rlnas-store app.kubernetes.io/part-of=rlnas > /dev/null
