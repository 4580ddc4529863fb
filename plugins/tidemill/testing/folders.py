"""Folders of this process's tests; gone when it ends."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path


def scratch(purpose: str) -> Path:
    """A new, empty folder."""
    return Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=_root().name))


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tidemill-testing-", ignore_cleanup_errors=True)
