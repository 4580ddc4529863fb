"""The runs, several at once, each with its kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.chaos.killing import Mender, kill_task, processes_of
from tests.chaos.plan import STAGES, WORKER, Planned
from tests.chaos.world import World

_LONGEST: Final = 600.0
"""Seconds after its kill in which a run has to end."""
_FORGOTTEN: Final = 45.0
"""Seconds that a task is queued without a process before somebody restarts the scheduler. Airflow 3.3.2's local
executor forgets a task whose worker dies before it has said that the task runs, and only a new scheduler finds it."""
_FIRST: Final = datetime(2020, 1, 25, tzinfo=UTC)
_STEP: Final = timedelta(hours=6)
"""Between two runs of a pipeline: without new rows the second would train nothing."""


@dataclass(frozen=True)
class Task:
    """A task of a run that is under way. ``woken``: it was deferred before."""

    instance: str
    name: str
    state: str
    number: int
    woken: bool

    @property
    def stage(self) -> str:
        """The stage of the run's life, while the task runs or waits."""
        if self.state == "deferred":
            return "waiting"
        if self.state != "running":
            return ""
        return f"{self.name} again" if self.woken else self.name

    def told(self) -> str:
        """The task for a person."""
        return f"{self.name}{' again' if self.woken else ''} {self.state}, try {self.number}"


@dataclass
class Life:
    """A run of a pipeline. Times are seconds since the run was started; ``at`` is what its kill hit, and when."""

    planned: Planned
    pipeline: str
    run_id: str
    began: float
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
    active: dict[str, Life] = field(default_factory=dict)
    ended: list[Life] = field(default_factory=list)
    waiting: list[Planned] = field(default_factory=list)
    forgotten: int = 0
    _last: float = 0.0
    _made: Counter[str] = field(default_factory=Counter)

    def go(self, planned: Sequence[Planned]) -> None:
        """Every planned run with its kill. A run that ended before its kill has another one, killed earlier."""
        self.waiting = list(planned)
        with closing(self.world.database()) as database:
            while self.waiting or self.active:
                self._start()
                states, tasks = _states(database, [life.run_id for life in self.active.values()])
                for life in list(self.active.values()):
                    self._follow(life, states.get(life.run_id, ""), tasks.get(life.run_id, []))
                self._progress()
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
            self.active[name] = Life(planned, name, run_id, time.monotonic())

    def _follow(self, life: Life, state: str, tasks: list[Task]) -> None:
        age = time.monotonic() - life.began
        if state in {"success", "failed"}:
            life.ended, life.state = age, state
            if life.killed is None:
                self.waiting.append(replace(life.planned, late=life.planned.late * 0.5))
            if state == "failed":
                self.say(f"FAILED {life.told()}")
        elif age > (life.killed or 0.0) + _LONGEST:
            life.state = f"not ended; its tasks: {tasks}"
            self.say(f"STUCK {life.told()}: {life.state}")
            self.pipelines = [name for name in self.pipelines if name != life.pipeline]
        else:
            self._find_forgotten(life, age, tasks)
            if life.killed is None and self._kill(life, age, tasks):
                life.killed = age
            return
        self.ended.append(life)
        del self.active[life.pipeline]

    def _find_forgotten(self, life: Life, age: float, tasks: list[Task]) -> None:
        queued = [task.instance for task in tasks if task.state == "queued"]
        if not queued or self.mender.busy:
            life.queued = None
        elif life.queued is None:
            life.queued = age
        elif age - life.queued > _FORGOTTEN and not any(processes_of(instance) for instance in queued):
            life.queued = None
            if self.mender.kill("scheduler"):
                self.forgotten += 1
                self.say(f"forgotten by the local executor, so the scheduler is restarted: {life.told()}")

    def _kill(self, life: Life, age: float, tasks: list[Task]) -> bool:
        """Whether the kill has hit. A worker's waits for a process, a server's until all servers are there."""
        reached = max((STAGES.index(task.stage) for task in tasks if task.stage in STAGES), default=-1)
        if life.found is None and reached >= STAGES.index(life.planned.stage):
            life.found = age
        if life.found is None or age - life.found < life.planned.late:
            return False
        life.at = ", ".join(task.told() for task in tasks) or "between two tasks"
        if life.planned.kind not in WORKER:
            return not self.mender.busy and self.mender.kill(life.planned.kind)
        return any(kill_task(life.planned.kind, task.instance) for task in tasks if task.state == "running")

    def _progress(self) -> None:
        if time.monotonic() - self._last < 15 and (self.waiting or self.active):
            return
        self._last = time.monotonic()
        killed = sum(life.killed is not None for life in [*self.ended, *self.active.values()])
        states = Counter(life.state.split(";")[0] for life in self.ended)
        told = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
        self.say(f"ended: {told}; {killed} killed; {len(self.active)} under way, {len(self.waiting)} to come")


def _states(database: Any, runs: list[str]) -> tuple[dict[str, str], dict[str, list[Task]]]:
    """The state of each run, and its tasks that are under way."""
    found = database.execute("SELECT run_id, state FROM dag_run WHERE run_id = ANY(%s)", [runs]).fetchall()
    tasks: dict[str, list[Task]] = {}
    asked = (
        "SELECT run_id, id::text, task_id, state, try_number, next_method IS NOT NULL FROM task_instance "
        "WHERE run_id = ANY(%s) AND state IN ('scheduled', 'queued', 'running', 'deferred', 'up_for_retry')"
    )
    for run_id, *task in database.execute(asked, [runs]).fetchall():
        tasks.setdefault(run_id, []).append(Task(*task))
    return dict(found), tasks
