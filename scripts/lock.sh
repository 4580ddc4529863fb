#!/usr/bin/env bash
# Resolves pyproject.toml into the lock files, one resolution for Python 3.11 and later on every platform.
#
#   scripts/lock.sh             keeps what is locked and adds, removes or raises only what pyproject.toml asks for
#   scripts/lock.sh --upgrade   raises everything (further arguments go to uv pip compile)
#
# requirements/all.txt is resolved first, with every extra; the others are cut from it, so that an extra can be
# added to an environment without moving what is already in it.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
compile() {
    local output=$1
    shift
    echo "resolving $output"
    "$uv" pip compile "$@" --output-file "$output" --quiet \
        --universal --python-version 3.11 --fork-strategy fewest \
        --no-emit-index-url --no-annotate --custom-compile-command "make lock"
}

compile requirements/all.txt pyproject.toml --all-extras --group dev --group demo "$@"
cut=(--constraints requirements/all.txt)
compile requirements.txt pyproject.toml "${cut[@]}" \
    --extra celery --extra postgres --extra aws --extra gcp --extra azure
compile requirements/demo.txt --group demo "${cut[@]}"
compile requirements/dev.txt --group dev "${cut[@]}"
compile requirements/airflow-next.txt --group airflow-next "$@"
compile requirements/checkov.txt --group checkov "$@"
