"""A DAG as its spec plans it, with what tests ask of it. Imports no operator and not Airflow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from tidemill.plan.model import DagPlan, GroupPlan, Kind, SchedulePlan, TaskPlan
from tidemill.spec.errors import suggest


@dataclass(frozen=True)
class Task:
    """A task of a DAG: an ML stage, or a step of the user's own.

    ``operator`` is the class or function that a step of the user's names, and ``None`` for a stage; ``arguments`` and
    ``settings`` are what the spec gives it, as plain values. ``upstream`` and ``downstream`` are the tasks right
    before and after it; of a group, those at its ends.
    """

    id: str
    stage: str | None
    operator: str | None
    decorator: str | None
    arguments: dict[str, Any]
    settings: dict[str, Any]
    mapped: bool
    group: str | None
    upstream: frozenset[str]
    downstream: frozenset[str]
    file: str
    line: int

    @property
    def place(self) -> str:
        """Where the spec asks for it, ``dags/churn.yaml:12``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Dag:
    """One DAG of a pipeline. ``file`` is the spec, as messages name it."""

    plan: DagPlan = field(repr=False)
    file: str
    _tasks: dict[str, Task] = field(repr=False)
    _groups: dict[str, frozenset[str]] = field(repr=False)

    @classmethod
    def of(cls, plan: DagPlan, file: str) -> Dag:
        """The DAG of a plan."""
        groups = {group.group_id: group for group in plan.groups}
        flat = plan.flat()
        after: dict[str, set[str]] = {task.task_id: set() for task in flat}
        for task in flat:
            for name in task.upstream:
                after[name].add(task.task_id)
        tasks = {t.task_id: _task(t, frozenset(after[t.task_id]), groups) for t in flat}
        inside = {name: frozenset(t.task_id for t in plan.tasks if name in _around(t.group, groups)) for name in groups}
        return cls(plan, file, tasks, inside)

    @property
    def id(self) -> str:
        """Airflow's id of it."""
        return self.plan.dag_id

    @property
    def kind(self) -> Kind:
        """``training``, ``score``, ``monitor`` or ``workflow``."""
        return self.plan.kind

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ids of all tasks, each after those that it waits for."""
        return tuple(self._tasks)

    @property
    def groups(self) -> tuple[str, ...]:
        """The ids of all groups."""
        return tuple(self._groups)

    @property
    def schedule(self) -> SchedulePlan:
        """When it runs: ``schedule.cron``, ``schedule.timezone``, ``schedule.first``, ``schedule.last`` and so on."""
        return self.plan.schedule

    def task(self, task_id: str) -> Task:
        """A task by its full id. Raises AssertionError if there is none."""
        __tracebackhide__ = True
        if task_id not in self._tasks:
            raise AssertionError(self._unknown(task_id, self._tasks))
        return self._tasks[task_id]

    def upstream(self, task_id: str) -> frozenset[str]:
        """The tasks right before a task."""
        __tracebackhide__ = True
        return self.task(task_id).upstream

    def downstream(self, task_id: str) -> frozenset[str]:
        """The tasks right after a task."""
        __tracebackhide__ = True
        return self.task(task_id).downstream

    def ancestors(self, task_id: str) -> frozenset[str]:
        """Every task before a task, right before it or not."""
        __tracebackhide__ = True
        found: set[str] = set()
        ends = list(self.task(task_id).upstream)
        while ends:
            name = ends.pop()
            if name not in found:
                found.add(name)
                ends.extend(self._tasks[name].upstream)
        return frozenset(found)

    def assert_order(self, *names: str) -> None:
        """Each of the tasks runs only after the one named before it, right after it or later. A group stands for all
        of its tasks.

        Raises:
            AssertionError: one does not, or does not exist.
        """
        __tracebackhide__ = True
        for earlier, later in pairwise(names):
            for first in self.members(earlier):
                for second in self.members(later):
                    if first not in self.ancestors(second):
                        raise AssertionError(self._out_of_order(first, second))

    def ticks(self, first: str | datetime, last: str | datetime) -> list[datetime]:
        """The instants from ``first`` to ``last``, both inclusive and within the spec's ``start`` and ``end``, at which
        the schedule starts a run; in UTC. A text without a zone is UTC, as in specs.

        Raises:
            AssertionError: the schedule is no cron expression or preset of one.
        """
        __tracebackhide__ = True
        from tidemill.plan.schedule import ticks
        from tidemill.spec.units import instant

        schedule = self.schedule
        if schedule.cron is None:
            raise AssertionError(f"{self.id} ({self.file}) has no ticks: its schedule is no cron expression")
        begin, end = instant(first), instant(last)
        if schedule.first is not None:
            begin = max(begin, instant(schedule.first))
        if schedule.last is not None:
            end = min(end, instant(schedule.last))
        return list(ticks(schedule.cron, schedule.timezone, begin, end))

    def members(self, name: str) -> frozenset[str]:
        """The tasks that a name stands for: all of a group's, or the one task. Raises AssertionError if it is none."""
        __tracebackhide__ = True
        if name in self._groups:
            return self._groups[name]
        if name not in self._tasks:
            raise AssertionError(self._unknown(name, [*self._tasks, *self._groups]))
        return frozenset({name})

    def _unknown(self, name: str, known: Iterable[str]) -> str:
        near = suggest(name, known)
        meant = f'; did you mean "{near}"?' if near else ""
        return f'{self.id} ({self.file}) has no task "{name}"{meant} It has: {", ".join(self._tasks)}'

    def _out_of_order(self, first: str, second: str) -> str:
        earlier, later = self._tasks[first], self._tasks[second]
        before = [name for name in self._tasks if name in self.ancestors(second)]
        after = f"it comes after {', '.join(before)}" if before else "nothing comes before it"
        turned = f'; "{first}" ({earlier.place}) comes after it' if second in self.ancestors(first) else ""
        return f'{self.id}: "{second}" ({later.place}) does not come after "{first}": {after}{turned}'


def _task(plan: TaskPlan, after: frozenset[str], groups: dict[str, GroupPlan]) -> Task:
    own = plan.own
    around = [groups[name] for name in _around(plan.group, groups)]
    return Task(
        id=plan.task_id,
        stage=None if own else plan.step,
        operator=own.target if own else None,
        decorator=own.decorator if own else None,
        arguments=dict(own.arguments) if own else {},
        settings=dict(own.settings) if own else {},
        mapped=(own is not None and own.expand is not None) or any(group.expand is not None for group in around),
        group=plan.group,
        upstream=frozenset(plan.upstream),
        downstream=after,
        file=plan.file,
        line=plan.line,
    )


def _around(group: str | None, groups: dict[str, GroupPlan]) -> list[str]:
    """A group and those around it, from the inside out."""
    found = []
    while group is not None:
        found.append(group)
        group = groups[group].parent
    return found
