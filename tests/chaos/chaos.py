"""The run itself, from nothing to its counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.audit import Found, examine
from tests.chaos.killing import Mender
from tests.chaos.lives import Life, Lives
from tests.chaos.plan import drawn
from tests.chaos.world import standing


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``planned``: how many runs were to be killed."""

    planned: int
    lives: Sequence[Life]
    found: Found
    restarts: int
    forgotten: int

    @property
    def bad(self) -> int:
        """Problems, and runs that did not end well."""
        return self.found.problems + sum(life.state != "success" for life in self.lives)


def chaos(
    folder: Path,
    runs: int,
    seed: int,
    services: Sequence[str],
    copies: int,
    say: Callable[[str], None],
    *,
    minutes: float | None = None,
) -> Outcome:
    """Start everything, kill each run once, count. No run is started after ``minutes``."""
    last = None if minutes is None else time.monotonic() + minutes * 60
    planned = drawn(runs, seed, services)
    with standing(folder, services, copies) as world:
        say(f"everything is up: {', '.join(services)}")
        mender = Mender(world.live.stack, say)
        mender.start()
        try:
            lives = Lives(world, world.pipelines, mender, say, last)
            lives.go(planned)
        finally:
            mender.stop()
        found = examine(world, lives.ended)
    return Outcome(runs, lives.ended, found, mender.starts, lives.forgotten)
