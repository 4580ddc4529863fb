"""What is going to happen, drawn from a seed: which pipeline each run is of, what is killed, and when in its life."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["task", "supervisor", "both", "triggerer", "triggerer+children", "scheduler", "scheduler+children"]
WORKER: Final = frozenset({"task", "supervisor", "both"})
_WEIGHTS: Final[dict[Kind, int]] = {
    # The task's own process, the executor's worker that watches it, or both as when a machine is lost.
    "task": 4,
    "supervisor": 4,
    "both": 4,
    # The leader alone as the kernel kills one process, or everything in its container.
    "triggerer": 3,
    "triggerer+children": 3,
    "scheduler": 2,
    "scheduler+children": 2,
}


@dataclass(frozen=True)
class Planned:
    """A run and its kill. ``moment``: the part of a run's usual life after which the kill comes; ``late``: seconds
    into the life of the process, where that had to be waited for."""

    number: int
    service: str
    kind: Kind
    moment: float
    late: float


def drawn(runs: int, seed: int, services: Sequence[str]) -> list[Planned]:
    """The plan of a seed; its first runs are those of a shorter plan of the same seed."""
    chance = random.Random(seed)
    kinds = list(_WEIGHTS)
    made = []
    for number in range(runs):
        kind = chance.choices(kinds, list(_WEIGHTS.values()))[0]
        made.append(
            Planned(
                number=number,
                service=services[number % len(services)],
                kind=kind,
                moment=chance.uniform(0.02, 0.98),
                late=chance.uniform(0.0, 1.5),
            )
        )
    return made
