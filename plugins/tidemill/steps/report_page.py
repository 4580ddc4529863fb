"""What a monitor's run leaves for people: the page, and every column's distances as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from tidemill.records import MonitorReport
from tidemill.spec.monitoring import Monitor
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext

if TYPE_CHECKING:
    from tidemill.drift.reports.report import Report


def write(
    ctx: StepContext, settings: Monitor, report: MonitorReport, drift: Report | None, why: tuple[str, ...]
) -> MonitorReport:
    """The report with the address of its page; without one if nothing was judged.

    Args:
        ctx: the run; the files lie in ``<run folder>/monitor``.
        settings: those of the monitor.
        report: what was found.
        drift: all that was found of the columns, if that was judged.
        why: what was said of performance.
    """
    from tidemill.drift.reports.html import page, performance_page
    from tidemill.drift.reports.json import as_json
    from tidemill.drift.reports.performance import Watched

    watched = Watched(report=report, bounds=settings.performance or {}, why=why)
    folder = ctx.scratch("monitor")
    if drift is not None:
        text = json.dumps(as_json(drift), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "drift.json").write_text(text + "\n", encoding="utf-8")
    elif not watched.told:
        return report
    of = f"{ctx.pipeline}, {format_instant(report.start)} to {format_instant(report.end)}"
    path = folder / "report.html"
    path.write_text(page(drift, watched) if drift is not None else performance_page(watched, of), encoding="utf-8")
    return dataclasses.replace(report, page=str(path))
