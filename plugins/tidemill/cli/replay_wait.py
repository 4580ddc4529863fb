"""Waiting for a live Airflow: for a pipeline to be there, for a run to end, for what a run causes; and telling why
nothing moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from tidemill.cli.airflow_api import AirflowApi, ApiError, NotFound
from tidemill.errors import TidemillError
from tidemill.plan.model import Plan

_ACTIVE = frozenset({"running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"})
_HUMAN = "awaiting_input"


class ReplayError(TidemillError):
    """A replay cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """For how many seconds what is waited for, and how often it is asked for.

    ``visible``: until Airflow has the spec as the file has it. ``still``: while no task runs and nothing changes.
    ``event``: until an asset event has started its run. ``run``: for one run, without the time that it waits for
    a person.
    """

    visible: float = 90
    still: float = 90
    event: float = 60
    run: float = 6 * 3600
    poll: float = 0.4


class Watch:
    """The waiting part of a replay. ``tasks`` is told the states of a run's tasks, ``say`` what needs a line."""

    def __init__(
        self,
        api: AirflowApi,
        plan: Plan,
        limits: Limits,
        tasks: Callable[[Mapping[str, str]], None],
        say: Callable[[str], None],
    ) -> None:
        self._api, self._plan, self._limits = api, plan, limits
        self._tasks, self._say = tasks, say

    def ready(self, dag_ids: Sequence[str]) -> None:
        """Wait until Airflow has these DAGs, made of this very spec, and runs what is asked of it.

        Raises:
            ReplayError: it has not in time, the spec is broken there, a DAG is paused, or the scheduler is dead.
        """
        end = time.monotonic() + self._limits.visible
        for dag_id in dag_ids:
            while (problem := self._why_not_ready(dag_id)) is not None:
                if time.monotonic() > end:
                    raise ReplayError(problem)
                time.sleep(1)
            if self._api.dag(dag_id)["is_paused"]:
                raise ReplayError(self._paused(dag_id))

    def until_success(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run and return it.

        Raises:
            ReplayError: it failed (with the end of the failed task's log), nothing moves, or it takes too long.
        """
        moved, busy, asked = time.monotonic(), 0.0, False
        before: tuple[Any, ...] = ()
        alive = _Patience(self._dead_component)
        tasks: list[dict[str, Any]] = []
        for turn in count():
            run = self._run(dag_id, run_id)
            # The tasks are what is looked at, the run's end what is waited for: they are asked for half as often.
            if turn % 2 == 0 or run["state"] in {"success", "failed"}:
                tasks = self._api.tasks(dag_id, run_id)
            states = {task["task_id"]: task["state"] or "" for task in tasks}
            now = (run["state"], *sorted(states.items()))
            if now != before:
                before, moved = now, time.monotonic()
                self._tasks(states)
            if run["state"] == "success":
                return run
            if run["state"] == "failed":
                raise ReplayError(self._failure(dag_id, run_id, tasks))
            human = _HUMAN in states.values() and not _ACTIVE & set(states.values())
            if human and not asked:
                asked = True
                where = self._api.link(dag_id, run_id, next(t for t, s in states.items() if s == _HUMAN))
                self._say(f"a person's answer is needed: {where}")
            if not human:
                busy += self._limits.poll
            if not human and not _ACTIVE & set(states.values()) and time.monotonic() - moved > self._limits.still:
                raise ReplayError(self._stalled(dag_id, run_id, time.monotonic() - moved))
            if time.monotonic() - moved > 15 and (dead := alive.lost()):
                raise ReplayError(f"{dead} The run {run_id} of {dag_id} stands still.")
            if busy > self._limits.run:
                raise ReplayError(f"The run {run_id} of {dag_id} takes too long: {self._api.link(dag_id, run_id)}")
            time.sleep(self._limits.poll)
        raise AssertionError("unreachable: count has no end")

    def caused_by(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """DAG and run of everything that the asset events of a run have started, once all of it is there.

        Raises:
            ReplayError: an event has started no run of the pipeline's DAG that listens to it.
        """
        events = self._api.events_of(dag_id, run_id)
        end = time.monotonic() + self._limits.event
        while any(waiting := [self._not_yet(event) for event in events]):
            if time.monotonic() > end:
                missing = next(listener for listener in waiting if listener)
                raise ReplayError(
                    f"The run {run_id} of {dag_id} asked for a run of {missing}, but Airflow started none in "
                    f"{self._limits.event:.0f} s. {self._why_still(missing)}"
                )
            time.sleep(self._limits.poll)
            events = self._api.events_of(dag_id, run_id)
        started = {(run["dag_id"], run["run_id"]): None for event in events for run in event["created_dagruns"]}
        return list(started)

    def _not_yet(self, event: Mapping[str, Any]) -> str | None:
        """The pipeline's DAG that listens to the event's asset and has no run for it yet."""
        started = {run["dag_id"] for run in event["created_dagruns"]}
        for dag in self._plan.dags:
            if any(asset.name == event["name"] for asset in dag.schedule.assets) and dag.dag_id not in started:
                return dag.dag_id
        return None

    def _run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        try:
            return self._api.run(dag_id, run_id)
        except NotFound:
            raise ReplayError(f"The run {run_id} of {dag_id} is gone: somebody deleted it.") from None

    def _why_not_ready(self, dag_id: str) -> str | None:
        """What is missing before the DAG can be run as the file has it; ``None`` if nothing is."""
        try:
            dag = self._api.dag(dag_id)
        except NotFound:
            return f"Airflow at {self._api.url} has no DAG {dag_id!r}. {self._import_error()}"
        if f"`{self._plan.spec_hash}`" not in (dag.get("doc_md") or ""):
            return (
                f"Airflow at {self._api.url} has another version of {self._plan.file} than this one "
                f"(hash {self._plan.spec_hash}): does it read this DAG folder? {self._import_error()}"
            )
        if dag.get("is_stale"):
            return f"The DAG {dag_id!r} is stale: its file was not read for a while. {self._import_error()}"
        return self._dead_component()

    def _import_error(self) -> str:
        for file, text in self._api.import_errors().items():
            if self._plan.file in text or "tidemill" in file:
                return f"Its import error in {file}:\n{text.strip()}"
        return self._dead_component() or f"It reports no import error. Does {self._plan.file} lie in its DAG folder?"

    def _dead_component(self) -> str | None:
        health = self._api.health()
        for name in ("scheduler", "dag_processor"):
            if health.get(name) != "healthy":
                return f"Airflow's {name} is {health.get(name) or 'not running'}: look at its log, or start it again."
        return None

    def _paused(self, dag_id: str) -> str:
        return f"The DAG {dag_id!r} is paused, so Airflow would not run it. Unpause it: {self._api.link(dag_id)}"

    def _stalled(self, dag_id: str, run_id: str, seconds: float) -> str:
        head = (
            f"Nothing has moved in the run {run_id} of {dag_id} for {seconds:.0f} s ({self._api.link(dag_id, run_id)})."
        )
        return f"{head} {self._why_still(dag_id, run_id)}"

    def _why_still(self, dag_id: str, run_id: str | None = None) -> str:
        dead = self._dead_component()
        if dead:
            return dead
        if self._api.dag(dag_id)["is_paused"]:
            return self._paused(dag_id)
        others = [r for r in self._api.runs(dag_id, states=("running",)) if r["dag_run_id"] != run_id]
        if others:
            other = others[0]["dag_run_id"]
            return f"Another run has its turn first: {other} ({self._api.link(dag_id, other)})."
        return "The scheduler is alive and the DAG is not paused: is the pool full, or every worker busy?"

    def _failure(self, dag_id: str, run_id: str, tasks: Sequence[Mapping[str, Any]]) -> str:
        failed = next((task for task in tasks if task["state"] == "failed"), None)
        if failed is None:
            return f"The run {run_id} of {dag_id} failed before any of its tasks did: {self._api.link(dag_id, run_id)}"
        task_id = failed["task_id"]
        return "\n".join(
            (
                f"The task {task_id!r} of {dag_id} failed, in the run {run_id}. Its log ends so:",
                *(f"    {line}" for line in self._last_lines(dag_id, run_id, task_id, failed["try_number"])),
                f"All of it: {self._api.link(dag_id, run_id, task_id)}",
                "Mend the cause and start the replay again: it goes on with the failed task.",
            )
        )

    def _last_lines(self, dag_id: str, run_id: str, task_id: str, attempt: int, most: int = 12) -> list[str]:
        try:
            lines = self._api.log(dag_id, run_id, task_id, attempt)
        except ApiError as error:
            return [f"(the log cannot be read: {error})"]
        return lines[-most:] or ["(the log is empty)"]


class _Patience:
    """Asks now and then whether a component is dead; only one that is dead three times is: on a busy machine a
    heartbeat comes late."""

    def __init__(self, ask: Callable[[], str | None], every: float = 10) -> None:
        self._ask, self._every = ask, every
        self._next, self._times = 0.0, 0

    def lost(self) -> str | None:
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + self._every
        dead = self._ask()
        self._times = self._times + 1 if dead else 0
        return dead if self._times >= 3 else None
