"""How good the model in force was on rows whose true values are known by now, with how sure that is.

Without late labels the judged rows are those of the monitor's window, else those of the window moved back by the
labels' delay. Where the model's predictions were logged, they are what is judged, and never computed anew with another
model; else the champion in force at the window's start scores the rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import champion, previous_champion
from tidemill.records import DataFinding, Interval, LabelReport, MonitorReport, Performance
from tidemill.spec.monitoring import Bound, Monitor
from tidemill.spec.units import format_duration, format_instant
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.labels import labelled, with_target
from tidemill.steps.predictions import Log, Logged, probability
from tidemill.steps.sources import source_path
from tidemill.steps.window import moved_back

if TYPE_CHECKING:
    import polars as pl

    from tidemill.ledger import Entry
    from tidemill.spec.models import Evaluate
    from tidemill.steps.computing import Models
    from tidemill.steps.scoring import Predicts
    from tidemill.tools.predictor import Label

CONFIDENCE = 0.95
"""The level of intervals that no bound asks for."""
_MOMENT = timedelta(microseconds=1)


def judge(
    ctx: StepContext, settings: Monitor, report: MonitorReport, entries: Sequence[Entry], mlflow: Models
) -> MonitorReport:
    """The report with the performance that is asked for, of the rows that have a label; and the alarms for it.

    What cannot be judged is said in ``why``.

    Raises:
        StepError: rows or labels cannot be read; the model cannot be loaded or fails on them.
    """
    delay = settings.labels.delay if settings.labels is not None else None
    rows = rows_of(ctx, settings, entries, moved_back((report.start, report.end), delay))
    report = dataclasses.replace(
        report, labels=rows.labels, labelled=rows.frame.height, findings=(*report.findings, *rows.findings)
    )
    if rows.said is not None:
        report = _with(report, rows.said)
    if rows.version is None:
        return report
    if rows.frame.height < settings.min_rows:
        few = f"{rows.frame.height:,} of {rows.whole:,} rows have a target, min_rows is {settings.min_rows:,}"
        return _with(report, f"performance is not judged: {few}")
    performance, missing = _measured(ctx, settings, rows.predictor(ctx, mlflow), rows)
    report = _alarms(settings, dataclasses.replace(report, performance=performance), missing, entries)
    return _previous(ctx, settings, report, rows, entries, mlflow) if settings.compare_previous else report


@dataclass(frozen=True)
class Rows:
    """The labelled rows of a window with what is needed to judge a model on them.

    ``version`` is ``None`` where no model is to be judged. ``logged``: the log's own predictions, which stand in the
    frame; else the frame has what the model is given. ``whole``: how many rows the window has.
    """

    start: datetime
    end: datetime
    frame: pl.DataFrame
    version: str | None
    whole: int
    logged: Logged | None = None
    labels: LabelReport | None = None
    findings: tuple[DataFinding, ...] = ()
    said: str | None = None

    def predictor(self, ctx: StepContext, mlflow: Models) -> Predicts:
        """What says the predictions."""
        assert self.version is not None
        if self.logged is not None:
            return Recorded(f"the log of version {self.version}", self.logged.classes)
        return mlflow.load(ctx.model, self.version)


class Recorded:
    """The predictions that a log holds, for rows that carry its columns."""

    def __init__(self, name: str, classes: list[Label] | None) -> None:
        self.name = name
        self.classes = classes

    def probabilities(self, rows: Any, classes: Sequence[Label], /) -> Any:
        """(rows, classes).

        Raises:
            LabelsOnly: the model had given none.
        """
        from tidemill.tools.predictor import LabelsOnly

        names = [probability(label) for label in classes]
        if not any(name in rows.columns for name in names):
            raise LabelsOnly(f"{self.name} has labels only: the model gave no probabilities when it scored the rows")
        return rows.reindex(columns=names, fill_value=0.0).to_numpy(dtype=float)

    def labels(self, rows: Any, classes: Sequence[Label], /) -> list[Any]:
        """The class that each row was given."""
        return list(rows["prediction"].tolist())

    def values(self, rows: Any, /) -> Any:
        """(rows,) numbers."""
        return rows["prediction"].to_numpy(dtype=float)


def rows_of(ctx: StepContext, settings: Monitor, entries: Sequence[Entry], window: tuple[datetime, datetime]) -> Rows:
    """The labelled rows of a window [start, end), and which model is judged on them.

    Raises:
        StepError: rows, labels or log cannot be read.
    """
    start, end = window
    logged = logged_in(ctx, start, end)
    in_force = champion(entries, at=start)
    version = logged.version if logged else str(in_force.body["version"]) if in_force else None
    frame = logged.frame if logged else window_rows(ctx, start, end)
    found = Rows(start, end, frame, version, frame.height, logged)
    if logged is None and settings.labels is None:
        return dataclasses.replace(found, frame=with_target(frame, ctx.spec.evaluate.target))
    joined = labelled(ctx, frame, start, end, logged.ambiguous if logged else 0)
    found = dataclasses.replace(
        found, frame=joined.frame, whole=joined.report.rows, labels=joined.report, findings=joined.findings
    )
    return dataclasses.replace(found, said="; ".join(_said(settings, found)))


def logged_in(ctx: StepContext, start: datetime, end: datetime) -> Logged | None:
    """What this run's pipeline had predicted for the rows of a window, as far as it is known at ``as_of``.

    Raises:
        StepError: the log is damaged.
    """
    log, data = Log.of(ctx), ctx.spec.data
    return None if log is None else log.read(data.window.column, start, end, until=ctx.as_of.instant, key=data.key)


def window_rows(ctx: StepContext, start: datetime, end: datetime) -> pl.DataFrame:
    """The rows of a window of ``data.source``, which may be none.

    Raises:
        StepError: they cannot be read.
    """
    from tidemill.tools import source

    path, data = source_path(ctx, ctx.spec.data.source), ctx.spec.data
    if source.count_rows(path, data.window.column, start, end) == 0:
        return source.scan(path).head(0).collect()
    return source.window(path, data.window.column, start, end, order=data.key)


def metrics_of(ctx: StepContext, settings: Monitor) -> Evaluate:
    """What is computed: the metrics of ``evaluate`` and of ``monitor.performance``, without slices."""
    evaluate = ctx.spec.evaluate
    names = list(dict.fromkeys([*evaluate.metrics, *(settings.performance or {})]))
    return evaluate.model_copy(update={"metrics": names, "slices": []})


def _said(settings: Monitor, rows: Rows) -> Iterator[str]:
    """Which rows performance is judged on, where that is not plain."""
    assert rows.labels is not None
    delay = settings.labels.delay if settings.labels is not None else None
    waited = f" (labels take {format_duration(delay)})" if delay else ""
    share = rows.labels.labelled / rows.labels.rows if rows.labels.rows else 0.0
    span = f"{format_instant(rows.start)} to {format_instant(rows.end)}"
    whose = f", predictions of version {rows.version} from the log" if rows.logged else ""
    count = f"{rows.labels.labelled:,} of {rows.labels.rows:,} rows are labelled ({share:.0%})"
    yield f"performance from {span}{waited}: {count}{whose}"
    if rows.logged is not None and rows.logged.others:
        others = ", ".join(f"{n:,} of version {v}" for v, n in rows.logged.others.items())
        yield f"left out are rows that other versions scored: {others}"
    yield from (finding.detail for finding in rows.findings)
    if rows.version is None:
        yield f"no champion was in force at {format_instant(rows.start)}: performance is not judged"


def _measured(
    ctx: StepContext, settings: Monitor, predictor: Predicts, rows: Rows
) -> tuple[Performance, dict[str, str]]:
    """The metrics with their intervals, and why those that do not exist do not."""
    from tidemill.steps.scoring import predicted

    assert rows.version is not None
    asked = metrics_of(ctx, settings)
    scored = predicted(predictor, rows.frame, asked)
    values, missing = scored.metrics(asked.metrics, None)
    intervals = []
    for metric, value in values.items():
        bound = (settings.performance or {}).get(metric)
        level = bound.confidence if bound is not None else CONFIDENCE
        ends = scored.interval(metric, value, level) if value is not None else None
        if ends is not None and math.isfinite(ends.low) and math.isfinite(ends.high):
            made = Interval(metric=metric, low=ends.low, high=ends.high, confidence=level, method=ends.method)
            intervals.append(made)
    performance = Performance(
        version=rows.version,
        metrics=values,
        intervals=tuple(intervals),
        start=rows.start,
        end=rows.end,
        rows=rows.frame.height,
        predictions="logged" if rows.logged is not None else "computed",
        others=rows.logged.others if rows.logged is not None else {},
    )
    return performance, missing


def _alarms(
    settings: Monitor, report: MonitorReport, missing: dict[str, str], entries: Sequence[Entry]
) -> MonitorReport:
    assert report.performance is not None
    intervals = {interval.metric: interval for interval in report.performance.intervals}
    # A training at the very end of the window comes after the monitor, however late that is run again.
    now = champion(entries, at=report.end - _MOMENT)
    replaced = now is not None and str(now.body["version"]) != report.performance.version
    for metric, bound in (settings.performance or {}).items():
        value = report.performance.metrics.get(metric)
        if value is None or not math.isfinite(value):
            why = missing.get(metric, "it is not a finite number")
            report = _with(report, f"{metric} is not judged on the {report.labelled:,} rows that have a target: {why}")
            continue
        for text, alarm in _bounds(metric, value, bound, intervals.get(metric)):
            if alarm and replaced and now is not None:
                text = f"{text}; no alarm, as version {now.body['version']} has replaced it"
            report = _with(report, text, alarm=alarm and not replaced)
    return report


def _bounds(metric: str, value: float, bound: Bound, interval: Interval | None) -> Iterator[tuple[str, bool]]:
    """A sentence for each bound, and whether it is an alarm: the whole interval lies beyond it."""
    told = f"{metric} is {value:.6g}"
    if interval is not None:
        told += f" ({100 * interval.confidence:.4g}% interval {interval.low:.4g} to {interval.high:.4g})"
    if bound.at_least is not None:
        beyond = interval is not None and interval.high < bound.at_least
        yield f"{told}, {_verdict(value >= bound.at_least, beyond, 'at least', 'below the', bound.at_least)}", beyond
    if bound.at_most is not None:
        beyond = interval is not None and interval.low > bound.at_most
        yield f"{told}, {_verdict(value <= bound.at_most, beyond, 'at most', 'above the', bound.at_most)}", beyond


def _verdict(met: bool, beyond: bool, good: str, bad: str, bound: float) -> str:
    if met:
        return f"{good} {bound:g} asked for"
    return f"{bad} {bound:g} asked for" + ("" if beyond else ", which may be chance: no alarm")


def _previous(
    ctx: StepContext, settings: Monitor, report: MonitorReport, rows: Rows, entries: Sequence[Entry], mlflow: Models
) -> MonitorReport:
    """The champion before this one on the same rows: what the last promotion changed. It judges nothing, so a
    previous version that is gone is said and does not fail the run."""
    # What is judged by the log may have become champion after the start of a window that was moved back.
    known = (previous_champion(entries, at=at, of=rows.version) for at in (rows.start, rows.end))
    before = next((entry for entry in known if entry is not None), None)
    if before is None or str(before.body["version"]) == rows.version:
        return report
    version = str(before.body["version"])
    same = dataclasses.replace(rows, version=version, logged=None, frame=_given(ctx, rows))
    try:
        return dataclasses.replace(report, previous=_measured(ctx, settings, same.predictor(ctx, mlflow), same)[0])
    except StepError as error:
        if error.retry:
            raise
        return _with(report, f"the previous champion, version {version}, could not be scored: {error}")


def _given(ctx: StepContext, rows: Rows) -> pl.DataFrame:
    """The judged rows with what a model is given: those of the log have it in the source they were scored from."""
    if rows.logged is None:
        return rows.frame
    from tidemill.tools import source

    data, target = ctx.spec.data, ctx.spec.evaluate.target
    assert ctx.spec.score is not None
    path, key = source_path(ctx, ctx.spec.score.source or data.source), list(data.key)
    found = source.matching(path, rows.frame.select(key), within=(data.window.column, rows.start, rows.end))
    return found.drop(target, strict=False).join(rows.frame.select(*key, target), on=key, how="inner")


def _with(report: MonitorReport, why: str, *, alarm: bool = False) -> MonitorReport:
    """The report with one more sentence, and the alarm if it is one."""
    fired = report.fired if not alarm or "performance" in report.fired else (*report.fired, "performance")
    return dataclasses.replace(report, why=(*report.why, why), fired=fired)
