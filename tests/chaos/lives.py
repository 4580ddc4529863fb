"""The runs, several at once, each with its kill."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.chaos.killing import Mender, kill_task, processes_of
from tests.chaos.plan import WORKER, Planned
from tests.chaos.world import World

_LONGEST: Final = 600.0
"""Seconds after its kill in which a run has to end."""
_USUAL: Final = 50.0
_FORGOTTEN: Final = 45.0
"""Seconds that a task is queued without a process before somebody restarts the scheduler. Airflow 3.3.2's local
executor forgets a task whose worker dies before it has said that the task runs, and only a new scheduler finds it."""
_FIRST: Final = datetime(2020, 1, 25, tzinfo=UTC)
_STEP: Final = timedelta(hours=6)
"""Between two runs of a pipeline: without new rows the second would train nothing."""


@dataclass
class Life:
    """A run of a pipeline. Times are seconds since the run was started; ``at`` is what its kill hit, and when."""

    planned: Planned
    pipeline: str
    run_id: str
    began: float
    due: float
    found: float | None = None
    killed: float | None = None
    at: str = ""
    ended: float | None = None
    state: str = ""
    queued: float | None = None

    def told(self) -> str:
        """The run and its kill, for a person."""
        if self.killed is None:
            return f"{self.pipeline} {self.run_id}: not killed"
        return f"{self.pipeline} {self.run_id}: kill -9 of {self.planned.kind} after {self.killed:.1f} s, {self.at}"


@dataclass
class Lives:
    """All runs. ``ended`` holds those that have, or are given up; ``waiting`` those to come; ``forgotten`` counts
    the tasks that the local executor forgot. No run is started after ``last``, an instant of the monotonic clock."""

    world: World
    pipelines: Sequence[str]
    mender: Mender
    say: Callable[[str], None]
    last: float | None = None
    usual: float = _USUAL
    active: dict[str, Life] = field(default_factory=dict)
    ended: list[Life] = field(default_factory=list)
    waiting: list[Planned] = field(default_factory=list)
    forgotten: int = 0
    _last: float = 0.0
    _made: Counter[str] = field(default_factory=Counter)

    def warm_up(self, planned: Sequence[Planned]) -> None:
        """Runs without a kill, to see how long a life is."""
        self._go([replace(p, moment=float("inf")) for p in planned], "warming up")
        self.usual = statistics.median(life.ended for life in self.ended if life.ended is not None)

    def go(self, planned: Sequence[Planned]) -> None:
        """Every planned run with its kill. A run that ended before its kill has another one, killed earlier."""
        self._go(planned, "runs")

    def _go(self, planned: Sequence[Planned], what: str) -> None:
        self.waiting, before = list(planned), len(self.ended)
        with closing(self.world.database()) as database:
            while self.waiting or self.active:
                self._start()
                states, tasks = _states(database, [life.run_id for life in self.active.values()])
                for life in list(self.active.values()):
                    self._follow(life, states.get(life.run_id, ""), tasks.get(life.run_id, []))
                self._progress(what, len(self.ended) - before)
                time.sleep(0.15)

    def _start(self) -> None:
        if self.last is not None and time.monotonic() > self.last:
            self.waiting.clear()
        for planned in list(self.waiting):
            name = next((n for n in self.pipelines if n.startswith(planned.service) and n not in self.active), None)
            if name is None:
                continue
            self.waiting.remove(planned)
            as_of = _FIRST + self._made[name] * _STEP
            self._made[name] += 1
            run_id = f"chaos-{planned.number}-{self._made[name]}"
            self.world.live.api.start(name, run_id, {"as_of": as_of.isoformat()})
            self.active[name] = Life(planned, name, run_id, time.monotonic(), planned.moment * self.usual)

    def _follow(self, life: Life, state: str, tasks: list[tuple[str, str, str, int]]) -> None:
        age = time.monotonic() - life.began
        if state in {"success", "failed"}:
            life.ended, life.state = age, state
            self.ended.append(life)
            if life.killed is None and life.due != float("inf"):
                self.waiting.append(replace(life.planned, moment=life.planned.moment * 0.6))
            del self.active[life.pipeline]
            if state == "failed":
                self.say(f"FAILED {life.told()}")
            return
        if age > (life.killed or life.due if life.due != float("inf") else 0.0) + _LONGEST:
            life.state = f"not ended; its tasks: {sorted(tasks)}"
            self.say(f"STUCK {life.told()}: {life.state}")
            self.ended.append(life)
            del self.active[life.pipeline]
            self.pipelines = [name for name in self.pipelines if name != life.pipeline]
            return
        self._find_forgotten(life, age, tasks)
        if life.killed is None and age >= life.due and self._kill(life, age, tasks):
            life.killed = age

    def _find_forgotten(self, life: Life, age: float, tasks: list[tuple[str, str, str, int]]) -> None:
        queued = [instance for instance, _, state, _ in tasks if state == "queued"]
        if not queued or self.mender.busy:
            life.queued = None
        elif life.queued is None:
            life.queued = age
        elif age - life.queued > _FORGOTTEN and not any(processes_of(instance) for instance in queued):
            life.queued = None
            self.forgotten += 1
            self.say(f"forgotten by the local executor, so the scheduler is restarted: {life.told()}")
            self.mender.kill("scheduler")

    def _kill(self, life: Life, age: float, tasks: list[tuple[str, str, str, int]]) -> bool:
        """Whether the kill has hit. A worker's waits for a process, a server's until all servers are there."""
        under_way = ", ".join(f"{task} {state}" for _, task, state, _ in tasks) or "no task under way"
        if life.planned.kind not in WORKER:
            if self.mender.busy:
                return False
            life.at = under_way
            return self.mender.kill(life.planned.kind)
        for instance, task, state, number in tasks:
            if state not in {"queued", "running"}:
                continue
            if life.found is None:
                life.found = age
            if age - life.found < life.planned.late:
                return False
            if kill_task(life.planned.kind, instance):
                life.at = f"{task} {state}, try {number}"
                return True
        return False

    def _progress(self, what: str, done: int) -> None:
        if time.monotonic() - self._last < 15 and (self.waiting or self.active):
            return
        self._last = time.monotonic()
        killed = sum(life.killed is not None for life in [*self.ended, *self.active.values()])
        states = Counter(life.state.split(";")[0] for life in self.ended)
        told = ", ".join(f"{count} {state}" for state, count in states.items()) or "none so far"
        under_way, left = len(self.active), len(self.waiting)
        self.say(
            f"{what}: {done} ended, {under_way} under way, {left} to come; {killed} killed; of all that ended: {told}"
        )


def _states(database: Any, runs: list[str]) -> tuple[dict[str, str], dict[str, list[tuple[str, str, str, int]]]]:
    """The state of each run, and of its tasks that are under way: id, name, state, try."""
    found = database.execute("SELECT run_id, state FROM dag_run WHERE run_id = ANY(%s)", [runs]).fetchall()
    tasks: dict[str, list[tuple[str, str, str, int]]] = {}
    asked = (
        "SELECT run_id, id::text, task_id, state, try_number FROM task_instance "
        "WHERE run_id = ANY(%s) AND state IN ('scheduled', 'queued', 'running', 'deferred', 'up_for_retry')"
    )
    for run_id, *task in database.execute(asked, [runs]).fetchall():
        tasks.setdefault(run_id, []).append(tuple(task))
    return dict(found), tasks
