#!/usr/bin/env bash
# Runs the tests that `make test` leaves out. A part whose program is missing is skipped by name.
# Arguments go to pytest. ALONE=no leaves out those that want the machine to themselves.
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
scripts/setup.sh checkov || echo "test-all: without checkov its tests are skipped: it could not be installed"
part browser chromium chromium-browser google-chrome
part node node nodejs
part terraform terraform

any=$(printf ' or %s' "${have[@]}")
absent=$(printf ' or %s' "${missing[@]+"${missing[@]}"}")
marks="(${any# or })"
[ ${#missing[@]} -eq 0 ] || marks="$marks and not (${absent# or })"

echo "test-all: running the tests marked ${have[*]}"
status=0
none=5 # pytest's exit code where no test is chosen
run() {
    local code=0
    .venv/bin/pytest "$@" || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq "$none" ] || status=$code
}
run -m "$marks and not alone" -n 2 --dist loadfile "$@"
# What shows how much a machine of this size can take has it to itself.
[ "${ALONE:-yes}" = no ] || run -m "$marks and alone" "$@"
[ ${#missing[@]} -eq 0 ] || echo "test-all: not run here: ${missing[*]}"
exit "$status"
