"""How a container that mounts nothing starts: fetch the code, unpack it, go on there.

The text of this module, of :mod:`.web` and of one store's is the command of such a container.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
import zlib
from typing import Any

from .web import StoreError


def main(store: Any) -> None:
    """Fetch and unpack the code at the address that is the first argument, and go on there with the others.

    ``store`` is the class of that address's store.
    """
    code, *others = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="tidemill-")
    packed = os.path.join(folder, "code.tar.gz")
    try:
        bucket, _, key = code.partition("://")[2].partition("/")
        store(bucket).get(f"{key.rstrip('/')}/code.tar.gz", packed)
        with tarfile.open(packed) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(folder, filter="data")
            else:  # before Python 3.11.4 and its like; Tidemill packed it itself
                tar.extractall(folder)
        os.unlink(packed)
    except (StoreError, OSError, EOFError, zlib.error, tarfile.TarError) as e:
        print(f"tidemill: the code could not be fetched: {e}", flush=True)
        sys.exit(10 if getattr(e, "user", False) else 20)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "tidemill.runtime.remote", "--code", folder, *others]
    os.execv(sys.executable, command)
