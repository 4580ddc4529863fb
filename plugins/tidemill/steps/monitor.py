"""Judges one window of rows for the champion that was in force when the window began.

The window is the data interval of a scheduled run, else ``monitor.window`` before ``as_of``, else as long as the
schedule's last interval. Drift (drift.py) is measured against the champion's own training rows; performance
(performance.py) on the rows whose true values are known, and estimated (estimate.py) on those where they are not yet.
All of it is a page for people, too (report_page.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import DRIFT, champion
from tidemill.records import MonitorReport
from tidemill.spec.monitoring import Monitor
from tidemill.spec.units import format_instant
from tidemill.steps import judging, monitor_job, new_data, processing
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.intent import begun
from tidemill.steps.ledger_io import record
from tidemill.steps.monitor_job import compute
from tidemill.steps.sources import source_path
from tidemill.steps.window import window_of

if TYPE_CHECKING:
    from tidemill.ledger import Entry
    from tidemill.steps.computing import Computation

__all__ = ["compute", "run"]


def run(ctx: StepContext) -> MonitorReport:
    """Judge the window, record the report in the ledger and write it to ``<run folder>/monitor/report.json``.

    What cannot be judged (no champion yet, no or too few rows, too few targets) is said in ``why`` and fires
    nothing.

    Raises:
        StepWaits: a job judges it; call this again when that has ended.
        StepError: the source cannot be read or lacks a column, or the champion or its reference cannot be loaded.
    """
    settings = ctx.spec.monitor
    if settings is None:
        raise StepError("the spec has no monitor section")
    start, end = window_of(ctx, settings)
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model)
    report = _new_data(ctx, _judge(ctx, settings, start, end, entries), entries)
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


def _counted(ctx: StepContext, start: datetime, end: datetime) -> MonitorReport:
    """A report that knows how many rows there are: they are counted, and not read, since there may be very many."""
    from tidemill.tools.source import count_rows

    data, target = ctx.spec.data, ctx.spec.evaluate.target
    path, column = source_path(ctx, data.source), data.window.column
    return MonitorReport(
        model=ctx.model,
        version=None,
        start=start,
        end=end,
        rows=count_rows(path, column, start, end),
        labelled=count_rows(path, column, start, end, filled=target),
    )


def _judge(
    ctx: StepContext, settings: Monitor, start: datetime, end: datetime, entries: Sequence[Entry]
) -> MonitorReport:
    from tidemill.tools.mlflow import open_mlflow

    @cache
    def worth() -> tuple[MonitorReport, bool]:
        return _worth(ctx, settings, _counted(ctx, start, end), entries)

    def prepared() -> Computation:
        return monitor_job.prepared(ctx, settings, worth()[0], entries, open_mlflow(ctx.connections, ctx.project))

    away = processing.remotely(ctx, "monitor")
    if not (away and begun(ctx) is not None):
        report, anything = worth()
        if not anything:
            return report
        if not away:
            return judging.judged(ctx, settings, report, entries, open_mlflow(ctx.connections, ctx.project))
    made = processing.compute(ctx, "monitor", prepared, compute)
    return monitor_job.brought(ctx, MonitorReport.from_json(made.value), made.output)


def _worth(
    ctx: StepContext, settings: Monitor, report: MonitorReport, entries: Sequence[Entry]
) -> tuple[MonitorReport, bool]:
    """The report with its champion, and whether there is anything to judge."""
    in_force = champion(entries, at=report.start)
    if in_force is None:
        why = f"no champion was in force at {format_instant(report.start)}: nothing is judged"
        return _with(report, why), False
    report = dataclasses.replace(report, version=str(in_force.body["version"]))
    if report.rows >= settings.min_rows:
        return report, True
    # Labels that come late are those of an earlier window, and what was logged may be of another source.
    elsewhere = ctx.spec.score is not None or settings.labels is not None
    few = f"{report.rows:,} rows" if report.rows else "no rows"
    what = "drift is not judged" if elsewhere else "nothing is judged"
    why = f"the window has {few}, min_rows is {settings.min_rows:,}: {what}"
    return _with(report, why), elsewhere


def _new_data(ctx: StepContext, report: MonitorReport, entries: Sequence[Entry]) -> MonitorReport:
    """The report with what there is to say of new rows. That is asked of the source as a whole, not of the window."""
    found = new_data.look(ctx, entries) if report.version is not None else None
    if found is None:
        return report
    rows, why, enough = found
    report = dataclasses.replace(report, new_rows=rows)
    return _with(report, why, fired=new_data.NEW_DATA if enough else None)


def _with(report: MonitorReport, why: str, fired: Any = None) -> MonitorReport:
    """The report with one more sentence and, if given, one more alarm."""
    alarms = report.fired if fired is None or fired in report.fired else (*report.fired, fired)
    return dataclasses.replace(report, why=(*report.why, why), fired=alarms)
