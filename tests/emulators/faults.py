"""How an emulator misbehaves, as told over HTTP: ``POST /_emulator/faults`` with a JSON object of these fields."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """What goes wrong; by default nothing does.

    ``throttle``, ``fail``, ``lose``: operation (the SDK's own name, or ``*``) → how many of its next calls are refused
    as throttled, are answered with the service's internal error, or are acted upon and then never answered.
    ``slow``: operation → seconds by which each answer is late. ``listing_delay``: seconds for which a new job is not
    shown by lists and searches (a read by its own id finds it). ``no_capacity``: machine types that are never to be
    had (``spot`` stands for every spot machine), regions (namespaces) in which none is, or one in a region
    (``us-east-1/spot``).
    ``preempt``: how many running spot jobs are interrupted, each after ``preempt_after`` seconds. ``start_delay``:
    seconds that a job is queued. ``hold``: jobs run for ever. ``missing_output``: jobs succeed, and what they left is
    not there. ``half``: operation → how many of its next answers are cut in the middle. ``denied``: operations that the
    caller may not do. ``no_image``: images that do not
    exist. ``no_quota``: machine types of which the account may have none: a submit is refused. ``noop``: jobs run
    nothing and succeed at once.
    """

    throttle: dict[str, int] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    lose: dict[str, int] = field(default_factory=dict)
    half: dict[str, int] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    denied: list[str] = field(default_factory=list)
    no_capacity: list[str] = field(default_factory=list)
    no_image: list[str] = field(default_factory=list)
    no_quota: list[str] = field(default_factory=list)
    listing_delay: float = 0.0
    preempt: int = 0
    preempt_after: float = 1.0
    start_delay: float = 0.0
    hold: bool = False
    noop: bool = False
    missing_output: bool = False

    def lacks(self, machine: str, region: str) -> bool:
        """Whether a region has no machine of a type."""
        return not {machine, region, f"{region}/{machine}"}.isdisjoint(self.no_capacity)


class Misbehaviour:
    """The faults of one emulator, and the calls that it was asked to answer. Threads may share it."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def set(self, value: dict[str, Any]) -> None:
        """Replace all faults by those of a JSON object. Raises ValueError on a field that is none."""
        unknown = value.keys() - {f.name for f in fields(Faults)}
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)[0]}")
        with self._lock:
            self.faults = Faults(**value)

    def seen(self, operation: str) -> None:
        """Count a call, and be late with its answer if so told."""
        with self._lock:
            self.calls[operation] += 1
            late = self.faults.slow.get(operation, self.faults.slow.get("*", 0.0))
        if late:
            time.sleep(late * random.uniform(0.5, 1.0))

    def takes(self, kind: str, operation: str) -> bool:
        """Whether this call suffers one of the counted faults (``throttle``, ``fail``, ``lose``, ``half``)."""
        with self._lock:
            counts: dict[str, int] = getattr(self.faults, kind)
            for name in (operation, "*"):
                if counts.get(name, 0) > 0:
                    counts[name] -= 1
                    return True
        return False

    def preempts(self) -> bool:
        """Whether the spot job that asks is to be interrupted."""
        with self._lock:
            if self.faults.preempt > 0:
                self.faults.preempt -= 1
                return True
        return False

    def report(self) -> dict[str, Any]:
        """The faults still to come and the calls so far, for ``GET /_emulator``."""
        with self._lock:
            return {"faults": asdict(self.faults), "calls": dict(self.calls)}
