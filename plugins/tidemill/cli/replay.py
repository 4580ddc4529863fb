"""``tidemill replay``: a live Airflow is moved through past time, in order.

The replay only moves the clock: for each tick of the plan's own schedules it starts a run that stands at that
instant, waits for it and for what it causes, and goes on. The tasks are run by Airflow's scheduler. A run's id
follows from its tick and the spec, so a replay that was killed finds what it had started.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from tidemill.cli.airflow_api import AirflowApi, Conflict, NotFound
from tidemill.cli.replay_wait import Limits, ReplayError, Watch
from tidemill.ledger.views import latest_as_of
from tidemill.plan.model import Plan
from tidemill.plan.ticks import Tick, ticks_of
from tidemill.spec.units import format_instant

if TYPE_CHECKING:
    from tidemill.ledger import Ledger

__all__ = ["Limits", "Progress", "ReplayError", "ReplayResult", "Replayed", "Silent", "replay"]


@dataclass(frozen=True)
class Replayed:
    """A run that the replay waited for. ``adopted``: an earlier replay had started it.

    ``caused_by``: the id of the run whose asset event started it; ``None`` for a run of the schedule.
    """

    dag_id: str
    run_id: str
    as_of: str
    adopted: bool
    caused_by: str | None
    seconds: float


@dataclass(frozen=True)
class ReplayResult:
    """All runs of a finished replay, in the order they ended."""

    pipeline: str
    model: str
    runs: tuple[Replayed, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON-ready object."""
        return asdict(self)


class Progress(Protocol):
    """Who is told how far a replay is."""

    def begin(self, total: int) -> None:
        """A replay of so many ticks begins."""

    def tick(self, number: int, tick: Tick) -> None:
        """The tick of this number (from 1) is next."""

    def watch(self, dag_id: str, run_id: str, caused_by: str | None) -> None:
        """A run is being waited for."""

    def tasks(self, states: Mapping[str, str]) -> None:
        """The states of the tasks of that run."""

    def ended(self, run: Replayed) -> None:
        """That run has succeeded."""

    def say(self, text: str) -> None:
        """Something worth a line of its own."""


class Silent:
    """Progress that nobody sees."""

    def begin(self, total: int) -> None:
        """Nothing."""

    def tick(self, number: int, tick: Tick) -> None:
        """Nothing."""

    def watch(self, dag_id: str, run_id: str, caused_by: str | None) -> None:
        """Nothing."""

    def tasks(self, states: Mapping[str, str]) -> None:
        """Nothing."""

    def ended(self, run: Replayed) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def replay(
    plan: Plan,
    api: AirflowApi,
    ledger: Ledger,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> ReplayResult:
    """Move a live Airflow through the ticks of a plan's schedules; returns when all runs have succeeded.

    Raises:
        NoTicks: there is nothing to replay.
        ReplayError: Airflow does not have the pipeline as the file has it; the ledger
            stands later already; a run failed, or nothing moves. Its message says what to do.
        ApiError: Airflow cannot be reached or refuses.
    """
    return _Replay(plan, api, ledger, progress or Silent(), limits or Limits()).run(ticks_of(plan, since, until))


class _Replay:
    def __init__(self, plan: Plan, api: AirflowApi, ledger: Ledger, progress: Progress, limits: Limits) -> None:
        self._plan, self._api, self._ledger, self._progress = plan, api, ledger, progress
        self._watch = Watch(api, plan, limits, progress.tasks, progress.say)
        self._limits = limits
        self._runs: list[Replayed] = []

    def run(self, wanted: Sequence[Tick]) -> ReplayResult:
        began = time.monotonic()
        self._watch.ready(sorted({tick.dag_id for tick in wanted} | {dag.dag_id for dag in self._plan.dags}))
        self._progress.begin(len(wanted))
        resuming = False
        for number, tick in enumerate(wanted, 1):
            self._progress.tick(number, tick)
            run_id = tick.run_id(self._plan)
            adopted = self._find(tick.dag_id, run_id) is not None
            if adopted and not resuming:
                resuming = True
                self._progress.say("an earlier replay of this spec is found and continued")
            if not adopted:
                if not resuming:
                    self._refuse_if_later(tick)
                    resuming = True  # from here on what is later in the ledger is our own
                adopted = self._start(tick, run_id)
            self._settle(tick.dag_id, run_id, format_instant(tick.instant), adopted, None)
        return ReplayResult(self._plan.pipeline, self._plan.model, tuple(self._runs), time.monotonic() - began)

    def _find(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        try:
            return self._api.run(dag_id, run_id)
        except NotFound:
            return None

    def _refuse_if_later(self, tick: Tick) -> None:
        latest = latest_as_of(self._ledger.entries(self._plan.model))
        if latest is not None and latest > tick.instant:
            raise ReplayError(
                f"The ledger of model {self._plan.model!r} has come to {format_instant(latest)} already; a replay that "
                f"begins at {format_instant(tick.instant)} would be refused by it, run for run, as what is older never "
                "replaces what is newer. Begin later (--from), give the spec another `promote.model`, or start over "
                "with an empty state (`make clean` for the demonstration)."
            )

    def _start(self, tick: Tick, run_id: str) -> bool:
        conf = {
            "as_of": format_instant(tick.instant),
            "scheduled": True,
            "interval_start": format_instant(tick.start),
        }
        note = f"tidemill replay: the scheduled run of {format_instant(tick.instant)}"
        try:
            self._api.start(tick.dag_id, run_id, conf, note)
        except Conflict:
            return True  # an answer that was lost, or another replay of the same spec: the run is the same
        return False

    def _settle(self, dag_id: str, run_id: str, as_of: str, adopted: bool, caused_by: str | None) -> None:
        """Wait for a run, then for every run that its asset events start, and so on."""
        self._progress.watch(dag_id, run_id, caused_by)
        if adopted and self._api.run(dag_id, run_id)["state"] == "failed":
            self._progress.say(f"{dag_id} failed here before; its failed tasks are run again")
            self._api.clear_failed(dag_id, run_id)
        ended = self._watch.until_success(dag_id, run_id)
        done = Replayed(dag_id, run_id, as_of, adopted, caused_by, float(ended.get("duration") or 0))
        self._runs.append(done)
        self._progress.ended(done)
        for caused in self._watch.caused_by(dag_id, run_id):
            if not any((run.dag_id, run.run_id) == caused for run in self._runs):
                self._settle(*caused, as_of, adopted, run_id)
