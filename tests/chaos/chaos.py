"""The run itself, from nothing to its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.audit import Found, examine
from tests.chaos.killing import Mender
from tests.chaos.lives import Life, Lives
from tests.chaos.plan import drawn
from tests.chaos.world import World, standing

_SLEEP = 1.0
"""Seconds that a training takes, so that kills hit runs whose job is under way."""


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``planned``: how many runs were to be killed."""

    planned: int
    lives: Sequence[Life]
    found: Found
    restarts: int

    @property
    def bad(self) -> int:
        """Problems, and runs that did not end well."""
        return self.found.problems + sum(life.state != "success" for life in self.lives)


def chaos(
    folder: Path, runs: int, seed: int, services: Sequence[str], copies: int, say: Callable[[str], None]
) -> Outcome:
    """Start everything, kill each run once, count."""
    planned = drawn(runs, seed, services)
    with standing(folder, services) as world:
        say(f"everything is up: {', '.join(services)}")
        pipelines = _dropped(world, services, copies)
        mender = Mender(world.live.stack, say)
        mender.start()
        try:
            lives = Lives(world, pipelines, mender, say)
            lives.warm_up(planned[: len(services)])
            say(f"a run without a kill takes {lives.usual:.0f} s")
            lives.go(planned)
        finally:
            mender.stop()
        found = examine(world, lives.ended, pipelines)
    return Outcome(runs, lives.ended, found, mender.starts)


def _dropped(world: World, services: Sequence[str], copies: int) -> list[str]:
    names = []
    for service in services:
        for name in world.pipelines(service, copies):
            world.drop(service, name, _SLEEP)
            names.append(name)
    for name in names:
        world.live.wait_for_dag(name)
    return names
