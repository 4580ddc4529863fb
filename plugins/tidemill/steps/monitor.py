"""Judges one window of rows for the champion that was in force when the window began.

The window is the data interval of a scheduled run, else ``monitor.window`` before ``as_of``, else as long as the
schedule's last interval. Drift is measured against the champion's own training rows; performance on the rows that
have a target.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import DRIFT, champion, previous_champion
from tidemill.records import MonitorReport, Performance
from tidemill.spec.models import Evaluate
from tidemill.spec.monitoring import Bound, Monitor
from tidemill.spec.units import format_instant
from tidemill.steps import new_data
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import record
from tidemill.steps.window import window_of

if TYPE_CHECKING:
    import polars as pl

    from tidemill.ledger import Entry
    from tidemill.tools.mlflow import Mlflow

REFERENCE = "tidemill/reference.json"
"""Where the profile of its training rows lies in a version's run."""


def run(ctx: StepContext) -> MonitorReport:
    """Judge the window, record the report in the ledger and write it to ``<run folder>/monitor/report.json``.

    What cannot be judged (no champion yet, no or too few rows, too few targets) is said in ``why`` and fires
    nothing.

    Raises:
        StepError: the source cannot be read or lacks a column, or the champion or its
            profile cannot be loaded.
    """
    settings = ctx.spec.monitor
    if settings is None:
        raise StepError("the spec has no monitor section")
    start, end = window_of(ctx, settings)
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model)
    rows = _rows(ctx, start, end)
    report = MonitorReport(
        model=ctx.model, version=None, start=start, end=end, rows=rows.height, labelled=_labelled(ctx, rows).height
    )
    report = _new_data(ctx, _judge(ctx, settings, report, rows, entries), entries)
    path = ctx.scratch("monitor") / "report.json"
    report = dataclasses.replace(report, path=str(path))
    path.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, DRIFT, report)
    ctx.log.info(
        "%s to %s, champion %s: %s",
        format_instant(start), format_instant(end), report.version, "; ".join(report.why),
    )  # fmt: skip
    return report


def _judge(
    ctx: StepContext, settings: Monitor, report: MonitorReport, rows: pl.DataFrame, entries: Sequence[Entry]
) -> MonitorReport:
    in_force = champion(entries, at=report.start)
    if in_force is None:
        return _with(report, f"no champion was in force at {format_instant(report.start)}: nothing is judged")
    version = str(in_force.body["version"])
    report = dataclasses.replace(report, version=version)
    if report.rows < settings.min_rows:
        few = f"{report.rows:,} rows" if report.rows else "no rows"
        return _with(report, f"the window has {few}, min_rows is {settings.min_rows:,}: nothing is judged")
    from tidemill.tools.mlflow import open_mlflow

    mlflow = open_mlflow(ctx.connections, ctx.project)
    if settings.drift is not None:
        report = _drift(ctx, settings, report, rows, mlflow)
    if settings.performance is None and not settings.compare_previous:
        return report
    labelled = _labelled(ctx, rows)
    if labelled.height < settings.min_rows:
        few = f"{labelled.height:,} of {rows.height:,} rows have a target, min_rows is {settings.min_rows:,}"
        return _with(report, f"performance is not judged: {few}")
    performance, missing = _score(ctx, settings, mlflow, version, labelled)
    report = _performance(settings, dataclasses.replace(report, performance=performance), missing)
    return _previous(ctx, settings, report, labelled, entries, mlflow) if settings.compare_previous else report


def _drift(
    ctx: StepContext, settings: Monitor, report: MonitorReport, rows: pl.DataFrame, mlflow: Mlflow
) -> MonitorReport:
    from tidemill.drift.profile import DriftError, Profile
    from tidemill.drift.report import compare

    assert settings.drift is not None
    assert report.version is not None
    data = ctx.spec.data
    try:
        found = compare(
            Profile.read(mlflow.download(ctx.model, report.version, REFERENCE)),
            rows,
            at_least=settings.drift.at_least or 0.2,
            share=settings.drift.share,
            columns=settings.drift.columns,
            exclude={*data.key, data.window.column, ctx.spec.evaluate.target},
        )
    except DriftError as error:
        raise StepError(f"drift of version {report.version}: {error}") from error
    report = dataclasses.replace(report, columns=found.columns, share_drifted=found.share_drifted)
    asked = f"a column drifts from {settings.drift.at_least or 0.2:g} on, the window from {settings.drift.share:.0%}"
    return _with(report, f"{found.why()}; {asked}", fired="drift" if found.drifted else None)


def _performance(settings: Monitor, report: MonitorReport, missing: Mapping[str, str]) -> MonitorReport:
    assert report.performance is not None
    for metric, bound in (settings.performance or {}).items():
        value = report.performance.metrics.get(metric)
        if value is None or not math.isfinite(value):
            why = missing.get(metric, "it is not a finite number")
            report = _with(report, f"{metric} is not judged on the {report.labelled:,} rows that have a target: {why}")
            continue
        for text, met in _bounds(metric, value, bound):
            report = _with(report, text, fired=None if met else "performance")
    return report


def _bounds(metric: str, value: float, bound: Bound) -> Iterator[tuple[str, bool]]:
    if bound.at_least is not None:
        met = value >= bound.at_least
        yield f"{metric} is {value:.6g}, {'at least' if met else 'below the'} {bound.at_least:g} asked for", met
    if bound.at_most is not None:
        met = value <= bound.at_most
        yield f"{metric} is {value:.6g}, {'at most' if met else 'above the'} {bound.at_most:g} asked for", met


def _previous(
    ctx: StepContext,
    settings: Monitor,
    report: MonitorReport,
    labelled: pl.DataFrame,
    entries: Sequence[Entry],
    mlflow: Mlflow,
) -> MonitorReport:
    """The champion before this one on the same rows: what the last promotion changed. It judges nothing, so a
    previous version that is gone is said and does not fail the run."""
    before = previous_champion(entries, at=report.start)
    if before is None:
        return report
    version = str(before.body["version"])
    try:
        return dataclasses.replace(report, previous=_score(ctx, settings, mlflow, version, labelled)[0])
    except StepError as error:
        if error.retry:
            raise
        return _with(report, f"the previous champion, version {version}, could not be scored: {error}")


def _score(
    ctx: StepContext, settings: Monitor, mlflow: Mlflow, version: str, labelled: pl.DataFrame
) -> tuple[Performance, dict[str, str]]:
    """One version's metrics on the rows, and why those that do not exist there do not."""
    from tidemill.steps.scoring import score_with_reasons

    evaluate = ctx.spec.evaluate
    metrics = list(dict.fromkeys([*evaluate.metrics, *(settings.performance or {})]))
    asked: Evaluate = evaluate.model_copy(update={"metrics": metrics, "slices": []})
    scored = score_with_reasons(mlflow.load(ctx.model, version), labelled, asked)
    return Performance(version=version, metrics=dict(scored.scores.metrics)), scored.missing


def _new_data(ctx: StepContext, report: MonitorReport, entries: Sequence[Entry]) -> MonitorReport:
    """The report with what there is to say of new rows. That is asked of the source as a whole, not of the window."""
    found = new_data.look(ctx, entries) if report.version is not None else None
    if found is None:
        return report
    rows, why, enough = found
    report = dataclasses.replace(report, new_rows=rows)
    return _with(report, why, fired=new_data.NEW_DATA if enough else None)


def _rows(ctx: StepContext, start: datetime, end: datetime) -> pl.DataFrame:
    """The rows of the window, which may be none."""
    from tidemill.tools import source

    path, data = ctx.project.path(ctx.spec.data.source), ctx.spec.data
    if source.count_rows(path, data.window.column, start, end) == 0:
        return source.scan(path).head(0).collect()
    return source.window(path, data.window.column, start, end, order=data.key)


def _labelled(ctx: StepContext, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that have a target; none where the source has no such column."""
    import polars as pl

    target = ctx.spec.evaluate.target
    if target not in rows.columns:
        return rows.head(0)
    known = pl.col(target).is_not_null()
    if rows.schema[target].is_float():
        known &= pl.col(target).is_not_nan()
    return rows.filter(known)


def _with(report: MonitorReport, why: str, fired: Any = None) -> MonitorReport:
    """The report with one more sentence and, if given, one more alarm."""
    alarms = report.fired if fired is None or fired in report.fired else (*report.fired, fired)
    return dataclasses.replace(report, why=(*report.why, why), fired=alarms)
