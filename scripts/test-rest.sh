#!/usr/bin/env bash
# Runs the tests that `make test` leaves out. A part whose program is missing is skipped by name.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

have=(slow)
missing=()
part() {
    local name=$1 program
    shift
    for program in "$@"; do
        if command -v "$program" >/dev/null; then
            have+=("$name")
            return
        fi
    done
    missing+=("$name")
    echo "test-all: skipping the $name tests: none of these programs is on the PATH: $*"
}
if scripts/setup.sh next; then
    have+=(next)
else
    missing+=(next)
    echo "test-all: skipping the next tests: the coming Airflow could not be installed"
fi
part browser chromium chromium-browser google-chrome
part node node nodejs
part terraform terraform

any=$(printf ' or %s' "${have[@]}")
none=$(printf ' or %s' "${missing[@]+"${missing[@]}"}")
marks="(${any# or })"
[ ${#missing[@]} -eq 0 ] || marks="$marks and not (${none# or })"

echo "test-all: running the tests marked ${have[*]}"
status=0
.venv/bin/pytest -m "$marks" "$@" || status=$?
if [ "$status" -eq 5 ]; then
    echo "test-all: no test is marked ${have[*]}"
    status=0
fi
[ ${#missing[@]} -eq 0 ] || echo "test-all: not run here: ${missing[*]}"
exit "$status"
