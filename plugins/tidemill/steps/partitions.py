"""Deals the files of the judged window out to mapped tasks, each of which summarises some of them."""

from __future__ import annotations

from tidemill.ledger.views import champion
from tidemill.records import Partitions
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.sources import source_path
from tidemill.steps.window import window_of


def run(ctx: StepContext) -> Partitions:
    """What each of at most ``monitor.partitions`` tasks has to do.

    Raises:
        StepSkipped: there is no champion to compare with; the monitor says so.
        StepError: the source cannot be read.
    """
    from tidemill.drift.errors import DriftError
    from tidemill.drift.sources import open_source, split

    settings = ctx.spec.monitor
    if settings is None or settings.partitions is None:
        raise StepError("the spec has no monitor.partitions")
    start, end = window_of(ctx, settings)
    with ctx.open_ledger() as ledger:
        in_force = champion(ledger.entries(ctx.model), at=start)
    if in_force is None:
        raise StepSkipped(f"no champion was in force at {format_instant(start)}: there is nothing to compare with")
    data = ctx.spec.data
    try:
        files = open_source(source_path(ctx, data.source), where=(data.window.column, start, end)).files()
    except DriftError as error:
        raise StepError(f"{data.source} cannot be dealt out: {error}") from error
    dealt = tuple(tuple(part) for part in split(files, settings.partitions))
    ctx.log.info("%d files in %d parts", len(files), len(dealt))
    return Partitions(version=str(in_force.body["version"]), start=start, end=end, files=dealt)
