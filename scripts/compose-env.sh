#!/usr/bin/env bash
# Writes .env from .env.example with fresh random secrets. An existing .env is kept: its passwords are already in
# the databases' volumes.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -e .env ]; then
    echo "compose-env: .env exists and is kept; to begin anew: docker compose down --volumes && rm .env" >&2
    exit 1
fi
umask 077
hex() { head -c "$1" /dev/urandom | od -An -vtx1 | tr -d ' \n'; }
while IFS= read -r line; do
    case $line in
        AIRFLOW_FERNET_KEY=) line+=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_') ;;
        AIRFLOW_ADMIN_PASSWORD= | OBJECT_STORE_ACCESS_KEY=) line+=$(hex 10) ;;
        [A-Z]*=) line+=$(hex 32) ;;
    esac
    printf '%s\n' "$line"
done <.env.example >.env
echo "compose-env: wrote .env (readable by you alone); the password of Airflow's user admin stands in it"
