"""History, window by window: the runs that the schedules would have made, through the pipeline's own steps.

A tick of the scoring lets the champion that was in force then predict; one of the monitor judges its window, and asks
for a training as the policy has it; one of the training trains. The data of each run is what the spec's windows give at
that instant, so that nothing sees what had not happened yet. Steps of the user's own are left out: what they do to the
world, they would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol

from tidemill.backtest.policies import POLICIES, Policy
from tidemill.backtest.result import Backtest, Story, Training, Window
from tidemill.backtest.world import BacktestError, World
from tidemill.ledger.views import champion
from tidemill.plan.model import DagPlan, Kind, TaskPlan
from tidemill.plan.ticks import Tick, ticks_of
from tidemill.records import AsOf, Decision, MonitorReport, Promotion, Record, RetrainRequest, Run
from tidemill.spec.units import format_instant
from tidemill.steps.context import Event, StepError, StepSkipped, TriggerFacts

_MAPPED = frozenset({"partitions", "sketch"})
"""Stages that only spread the monitor's work: without them it does all of it itself."""
_ANSWERED = "approve"


class Progress(Protocol):
    """Who is told how far a backtest is."""

    def begin(self, total: int) -> None:
        """So many ticks there are, over all policies."""

    def tick(self, policy: Policy, tick: Tick) -> None:
        """This one is next."""

    def step(self, name: str) -> None:
        """A step begins."""

    def done(self, policy: Policy, tick: Tick, said: str) -> None:
        """The tick is done; ``said``: what came of it."""


def backtest(
    world: World, progress: Progress, since: datetime | None = None, until: datetime | None = None, metric: str = ""
) -> Backtest:
    """Go through the history of a pipeline under each policy.

    ``metric``: by which the policies are compared, one of `evaluate.metrics`; its first if empty.

    Raises:
        BacktestError: the spec has no monitor that could judge windows, no training in the span, or no such metric.
        NoTicks: there is nothing to go through.
    """
    spec = world.spec
    metric = metric or spec.evaluate.metrics[0]
    if metric not in spec.evaluate.metrics:
        raise BacktestError(f'"{metric}" is not among evaluate.metrics ({", ".join(spec.evaluate.metrics)})')
    if spec.monitor is None:
        raise BacktestError(
            f"{world.plan.file} has no `monitor`, so nothing judges the windows: add one with a schedule, e.g. "
            "`monitor: {schedule: monthly, drift: {}}`"
        )
    ticks = [tick for tick in ticks_of(world.plan, since, until) if tick.kind in ("score", "monitor", "training")]
    for kind, what in (("training", "schedule"), ("monitor", "monitor.schedule")):
        if not any(tick.kind == kind for tick in ticks):
            raise BacktestError(f"{world.plan.file}: `{what}` has no run in this span; say another --from or --to")
    progress.begin(len(ticks) * len(POLICIES))
    stories = tuple(_Teller(world, policy, progress).story(ticks) for policy in POLICIES)
    own = sorted({task.task_id for dag in world.plan.dags for task in dag.tasks if task.own is not None})
    return Backtest(
        pipeline=world.plan.pipeline,
        spec_hash=world.plan.spec_hash,
        since=format_instant(ticks[0].instant),
        until=format_instant(ticks[-1].instant),
        metric=metric,
        price=str(spec.platform.price) if spec.platform.price else None,
        stories=stories,
        left_out=tuple(own),
    )


class _Teller:
    """Goes through the ticks under one policy."""

    def __init__(self, world: World, policy: Policy, progress: Progress) -> None:
        self._world, self._policy, self._progress = world, policy, progress
        self._windows: list[Window] = []
        self._trainings: list[Training] = []
        self._runs: dict[datetime, int] = {}

    def story(self, ticks: list[Tick]) -> Story:
        for tick in ticks:
            self._progress.tick(self._policy, tick)
            name = f"{tick.instant:%Y%m%dT%H%M%S}-{tick.kind}"
            kept = self._world.kept(self._policy, name)
            if kept is None:
                windows, trainings = len(self._windows), len(self._trainings)
                self._go(tick)
                kept = {
                    "windows": [asdict(w) for w in self._windows[windows:]],
                    "trainings": [asdict(t) for t in self._trainings[trainings:]],
                    "runs": self._runs.get(tick.instant, 0),
                }
                self._world.keep(self._policy, name, kept)
                said = _said(tick.kind, self._windows[windows:], self._trainings[trainings:])
            else:
                self._windows += [_window(w) for w in kept["windows"]]
                self._trainings += [_training(t) for t in kept["trainings"]]
                self._runs[tick.instant] = int(kept["runs"])
                said = "done before"
            self._progress.done(self._policy, tick, said)
        return Story(
            policy=self._policy.name,
            title=self._policy.title,
            windows=tuple(self._windows),
            trainings=tuple(self._trainings),
        )

    def _go(self, tick: Tick) -> None:
        if tick.kind == "training":
            if self._policy.follows_calendar(has_champion=self._has_champion()):
                self._train(tick.instant, _scheduled(tick))
            return
        found = self._run(tick.kind, f"backtest__{format_instant(tick.instant)}", _scheduled(tick))
        if tick.kind == "score":
            return  # the monitor says what its log is worth
        report = found.record(MonitorReport)
        if report is None:
            self._windows.append(_unjudged(tick, found.stopped))
            return
        self._windows.append(_judged(report))
        request = found.record(RetrainRequest)
        if self._policy.answers(report, request):
            extra = request.to_json() if request is not None else {"as_of": tick.instant.isoformat()}
            self._train(tick.instant, _asked(tick.instant, extra))

    def _train(self, instant: datetime, trigger: TriggerFacts) -> None:
        number = self._runs[instant] = self._runs.get(instant, 0) + 1
        # One name for the first training at an instant, whatever started it: policies that agree share it.
        run_id = f"backtest__{format_instant(instant)}" + (f"__{number}" if number > 1 else "")
        found = self._run("training", run_id, trigger)
        as_of, decision, promotion = found.record(AsOf), found.record(Decision), found.record(Promotion)
        run = found.record(Run)
        if promotion is not None:
            outcome, why = promotion.outcome, promotion.reasons
        elif decision is not None and decision.decision == "no":
            outcome, why = "not trained", decision.why
        else:
            outcome, why = "failed", (found.stopped,)
        self._trainings.append(
            Training(
                as_of=format_instant(instant),
                cause=as_of.cause if as_of else "",
                reasons=as_of.reasons if as_of else (),
                outcome=outcome,
                version=promotion.version or None if promotion else None,
                why=tuple(why),
                seconds=run.seconds if run else 0.0,
            )
        )

    def _has_champion(self) -> bool:
        with self._world.ledger() as ledger:
            return champion(ledger.entries(self._world.model(self._policy))) is not None

    def _run(self, kind: Kind, run_id: str, trigger: TriggerFacts) -> _Found:
        dag = self._world.plan.dag(kind)
        assert dag is not None  # it has ticks
        found = _Found()
        for task in dag.flat():
            if any(name in found.skipped for name in task.upstream):
                found.skipped.add(task.task_id)
            elif task.own is None and task.step not in _MAPPED and task.step != _ANSWERED:
                self._progress.step(task.step)
                self._step(dag, task, run_id, trigger, found)
        return found

    def _step(self, dag: DagPlan, task: TaskPlan, run_id: str, trigger: TriggerFacts, found: _Found) -> None:
        ctx = self._world.context(self._policy, dag.dag_id, run_id, task.step, trigger, found.results)
        try:
            found.results[task.task_id] = import_module(f"tidemill.steps.{task.step}").run(ctx)
        except StepSkipped as skipped:
            found.stop(task, str(skipped))
            if skipped.record is not None:
                found.results[task.task_id] = skipped.record
        except StepError as error:
            found.stop(task, f"{task.step}: {error}")


class _Found:
    """What the steps of one run returned, and where it stopped, with the reason."""

    def __init__(self) -> None:
        self.results: dict[str, Record] = {}
        self.skipped: set[str] = set()
        self.stopped = ""

    def stop(self, task: TaskPlan, why: str) -> None:
        self.skipped.add(task.task_id)
        self.stopped = self.stopped or why

    def record(self, kind: type[Any]) -> Any:
        return next((one for one in self.results.values() if isinstance(one, kind)), None)


def _scheduled(tick: Tick) -> TriggerFacts:
    return TriggerFacts(
        params={},
        run_after=tick.instant,
        run_type="scheduled",
        interval_start=tick.start,
        interval_end=tick.instant,
    )


def _asked(instant: datetime, extra: Mapping[str, Any]) -> TriggerFacts:
    return TriggerFacts(params={}, run_after=instant, run_type="asset_triggered", events=(Event(extra, instant),))


def _judged(report: MonitorReport) -> Window:
    performance = report.performance
    given = performance.metrics if performance else {}
    metrics = {name: value for name, value in given.items() if value is not None}
    intervals = {i.metric: (i.low, i.high) for i in performance.intervals if i.metric in metrics} if performance else {}
    # Labels that arrive late are those of an earlier window.
    start, end = (performance.start, performance.end) if performance else (None, None)
    return Window(
        start=format_instant(start or report.start),
        end=format_instant(end or report.end),
        version=performance.version if performance else report.version,
        rows=report.rows,
        labelled=(performance.rows if performance else None) or report.labelled,
        metrics=metrics,
        intervals=intervals,
        fired=report.fired,
        why=report.why,
    )


def _unjudged(tick: Tick, why: str) -> Window:
    start, end = (format_instant(moment.astimezone(UTC)) for moment in (tick.start, tick.instant))
    return Window(start=start, end=end, version=None, rows=0, labelled=0, why=(why,))


def _said(kind: Kind, windows: list[Window], trainings: list[Training]) -> str:
    said = [f"{' and '.join(w.fired)} alarm" for w in windows if w.fired]
    said += [f"{t.outcome}{f': version {t.version}' if t.version else ''}" for t in trainings]
    return ", ".join(said) or {"score": "scored", "training": "no training"}.get(kind, "quiet")


def _window(value: dict[str, Any]) -> Window:
    intervals = {name: (low, high) for name, (low, high) in value["intervals"].items()}
    return Window(**{**value, "intervals": intervals, "fired": tuple(value["fired"]), "why": tuple(value["why"])})


def _training(value: dict[str, Any]) -> Training:
    return Training(**{**value, "reasons": tuple(value["reasons"]), "why": tuple(value["why"])})
