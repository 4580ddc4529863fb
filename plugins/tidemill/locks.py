"""Locks between processes of one machine, by files. A lock goes with the process that holds it, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Taken(Exception):
    """Another process holds the lock; ``who`` is what it wrote into the file."""

    def __init__(self, who: str) -> None:
        super().__init__(who)
        self.who = who


@contextmanager
def held(path: Path) -> Iterator[IO[str]]:
    """Hold the lock of a file, which is made if need be; it is handed over to be written to.

    Raises:
        Taken: another process holds it.
        OSError: the file cannot be made.
    """
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Taken(lock.read().strip()) from None
        yield lock
