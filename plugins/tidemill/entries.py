"""Small files that are kept to save work and are never required: whole or none, whatever happens meanwhile.

An entry is written whole and renamed into place, so that concurrent readers and writers see one or the other; its
first line is the digest of the rest, so that one that a crash, a full disk or a person has changed counts as none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress


def read_entry(path: str) -> bytes | None:
    """The content of an entry; ``None`` if there is none, or none that can be trusted."""
    try:
        with open(path, "rb") as file:
            digest, _, data = file.read().partition(b"\n")
    except OSError:
        return None
    return data if digest == _digest(data) else None


def write_entry(path: str, data: bytes) -> None:
    """Keep an entry. On a read-only or full disk nothing is kept, and the work is done again next time."""
    folder = os.path.dirname(path)
    new = None
    with suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        handle, new = tempfile.mkstemp(suffix=".new", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(_digest(data) + b"\n" + data)
        os.replace(new, path)
        return
    if new is not None:
        with suppress(OSError):
            os.unlink(new)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
