#!/usr/bin/env bash
# Builds .venv from the lock files, or finds within a fraction of a second that it is current.
# Needs bash, Python >= 3.11 with its venv module, and a package registry that pip can reach; nothing else.
#
#   scripts/setup.sh          .venv: run time, demonstration, development
#   scripts/setup.sh next     .venv-next: the coming Airflow, for the tests of the importer; after .venv, by its uv
#   scripts/setup.sh checkov  .venv-checkov: what judges the Terraform that is written; likewise
#   PYTHON=python3.12 scripts/setup.sh    chooses the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
locks=(requirements.txt requirements/demo.txt requirements/dev.txt)
if [ "${1:-}" = next ]; then
    venv=.venv-next
    locks=(requirements/airflow-next.txt)
    PYTHON=${PYTHON:-.venv/bin/python}
elif [ "${1:-}" = checkov ]; then
    venv=.venv-checkov
    locks=(requirements/checkov.txt)
    PYTHON=${PYTHON:-.venv/bin/python}
fi
uv=.venv/bin/uv
stamp=$venv/.tidemill-setup

# A process that may not write bytecode imports the installed packages several times slower.
unset PYTHONDONTWRITEBYTECODE

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# What the environment depends on: the locks, how the project is installed, where it lies and its interpreter.
fingerprint() {
    local version
    version=$("$venv/bin/python" -I -S -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null) || return 1
    { printf '%s\n' "$PWD" "$version"; cat "${locks[@]}" scripts/setup.sh; sed "/^\[tool.ruff\]/,\$d" pyproject.toml; } | sha256sum
}

find_python() {
    local candidate seen=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            return
        fi
        seen="$seen $candidate ($("$candidate" -V 2>&1 || true))"
    done
    die "Python 3.11 or newer is needed, found:${seen:- none}" \
        "On Debian 12 or Ubuntu 24.04: sudo apt-get install python3 python3-venv" \
        "Elsewhere name the interpreter: make setup PYTHON=/path/to/python3.12"
}

make_venv() {
    find_python
    "$python" -c 'import venv, ensurepip' 2>/dev/null || die "$("$python" -V) has no venv module." \
        "On Debian and Ubuntu: sudo apt-get install python3-venv"
    say "making $venv with $("$python" -V) ($(command -v "$python"))"
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# True if the environment was made here by an interpreter that is still there; another place or another Python
# makes its scripts and its library folder useless.
usable_venv() {
    [ "$(cat "$venv/.tidemill-home" 2>/dev/null)" = "$PWD" ] || return 1
    "$venv/bin/python" -I -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    [ -z "${PYTHON:-}" ] || [ "$("$venv/bin/python" -V)" = "$("$PYTHON" -V 2>&1)" ]
}

install_uv() {
    local pin
    pin=$(grep -m1 '^uv==' requirements/dev.txt)
    [ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "${pin#uv==}" ] && return
    say "installing $pin with pip"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$pin" || die \
        "pip could not install $pin: can it reach a package registry?" \
        "A mirror or a proxy is set with PIP_INDEX_URL or HTTPS_PROXY; then run this again."
}

install_packages() {
    # uv does not read pip's configuration: a mirror named there holds for it too.
    local mirror
    mirror=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$mirror" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        export UV_DEFAULT_INDEX=$mirror
    fi
    say "installing $(sed -n 's/==.*//p' "${locks[@]}" | sort -u | wc -l) pinned packages from ${locks[*]}"
    say "  and compiling their bytecode; a few minutes at first"
    "$uv" pip sync --quiet --python "$venv/bin/python" --compile-bytecode "${locks[@]}" || die \
        "the packages could not be installed; the reason stands above. What was downloaded is kept:" \
        "run the same command again to go on from there."
    [ "$venv" = .venv ] || return 0
    say "installing tidemill itself from plugins/, editable"
    "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
}

if [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint || echo none)" ] && { [ -z "${PYTHON:-}" ] || usable_venv; }; then
    say "$venv is current"
    exit 0
fi

# Two set-ups at once would undo each other; the second waits and then finds the work done.
exec 9>"${TMPDIR:-/tmp}/tidemill-setup-$(printf %s "$PWD" | sha256sum | cut -c1-16).lock"
if command -v flock >/dev/null && ! flock -n 9; then
    say "another set-up of this folder is running; waiting for it"
    flock 9
    [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint || echo none)" ] || { say "$venv is current"; exit 0; }
fi

started=$SECONDS
if usable_venv; then
    say "bringing $venv up to date"
    rm -f "$stamp"
else
    make_venv
fi
printf '%s\n' "$PWD" >"$venv/.tidemill-home"
install_uv
install_packages
fingerprint >"$stamp"
say "done in $((SECONDS - started)) s: $("$venv/bin/python" -V), $(du -sh "$venv" | cut -f1) in $venv"
