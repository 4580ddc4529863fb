#!/usr/bin/env bash
# Runs every benchmark of benchmarks/; a file that starts with _ is a helper. Each prints its own table.
set -euo pipefail
cd "$(dirname "$0")/.."

shopt -s nullglob
files=(benchmarks/[!_]*.py)
[ ${#files[@]} -gt 0 ] || { echo "bench: there is no benchmark in benchmarks/" >&2; exit 1; }
for file in "${files[@]}"; do
    echo "== $file"
    .venv/bin/python "$file"
done
