"""Calls that are made later, by one thread for all of them."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Clock:
    """Makes calls when their time has come, in order; a call must be short."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a call made."""
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._count), call))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or self._waiting[0][0] > time.monotonic():
                    self._changed.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)
                _, _, call = heapq.heappop(self._waiting)
            call()
