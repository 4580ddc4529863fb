"""The judgement of a window's rows: drift, performance, an estimate of it, and the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidemill.ledger.views import champion
from tidemill.records import MonitorReport
from tidemill.spec.monitoring import Monitor
from tidemill.steps import drift, estimate, performance, report_page
from tidemill.steps.context import StepContext

if TYPE_CHECKING:
    from tidemill.ledger import Entry
    from tidemill.steps.computing import Models


def judged(
    ctx: StepContext, settings: Monitor, report: MonitorReport, entries: Sequence[Entry], models: Models
) -> MonitorReport:
    """The report with what is found of the rows; its page and other files lie in ``ctx.scratch("monitor")``.

    ``report`` has the window, the champion in force at its start, and how many rows there are. No ledger is asked and
    nothing is recorded: this may be done in a container (monitor_job.py).

    Raises:
        StepError: rows, labels or log cannot be read; a model or its reference cannot be loaded.
    """
    in_force = champion(entries, at=report.start)
    assert in_force is not None
    columns = None
    if settings.drift is not None and report.rows >= settings.min_rows:
        report, columns = drift.judge(ctx, settings.drift, report, entries, in_force, models)
    said = len(report.why)
    if settings.performance is not None or settings.compare_previous:
        report = performance.judge(ctx, settings, report, entries, models)
    if settings.estimate:
        report = estimate.judge(ctx, settings, report, models)
    return report_page.write(ctx, settings, report, columns, report.why[said:])
