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
    "triggerer": 2,
    "triggerer+children": 3,
    "scheduler": 2,
    "scheduler+children": 1,
}


_STAGES: Final = {
    "as_of": 1,
    "retrain": 1,
    "data": 1,
    # Where the intent is written, the job submitted and waited for, and what it left is fetched and logged.
    "train": 4,
    "waiting": 3,
    "train again": 4,
    "reference": 1,
    "evaluate": 1,
    "register": 2,
    "promote": 2,
}
STAGES: Final = tuple(_STAGES)
"""A run's life, in order."""
_LONG: Final = 2.5
"""About as long as a stage takes, in seconds."""


@dataclass(frozen=True)
class Planned:
    """A run and its kill, which comes ``late`` seconds after the run has reached a stage of its life. A worker's kill
    waits for the next process, if there is none then."""

    number: int
    service: str
    kind: Kind
    stage: str
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
                stage=chance.choices(STAGES, list(_STAGES.values()))[0],
                late=chance.uniform(0.0, _LONG),
            )
        )
    return made
