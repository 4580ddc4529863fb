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
            written, _, data = file.read().partition(b"\n")
    except OSError:
        return None
    return data if written == digest(data) else None


def write_entry(path: str, data: bytes) -> None:
    """Keep an entry. On a read-only or full disk nothing is kept, and the work is done again next time."""
    with suppress(OSError):
        replace_file(path, digest(data) + b"\n" + data)


def replace_file(path: str, data: bytes) -> None:
    """Write a file whole and rename it into place; its folder is made. Raises OSError."""
    folder = os.path.dirname(path)
    try:
        handle, new = tempfile.mkstemp(suffix=".new", dir=folder)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        handle, new = tempfile.mkstemp(suffix=".new", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        os.unlink(new)
        raise


def digest(data: bytes) -> bytes:
    """What tells that content was changed by a crash, a full disk or a person, whatever can still be read of it."""
    return hashlib.sha256(data).hexdigest().encode()
