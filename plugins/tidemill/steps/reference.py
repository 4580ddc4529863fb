"""The profile of the training rows that a later window's drift is measured against."""

from __future__ import annotations

from tidemill.drift.profile import profile
from tidemill.records import DataVersion, Reference
from tidemill.steps.context import StepContext

FILE = "reference.json"


def run(ctx: StepContext) -> Reference:
    """Profile the training rows of the run's data version into ``<run folder>/reference/reference.json``.

    All columns are profiled, the target too: which of them are compared is the monitor's to say, later.

    Raises:
        StepError: the data version cannot be fetched.
    """
    import polars as pl

    from tidemill.tools.dvc import DvcStore

    data = ctx.result(DataVersion)
    rows = pl.read_parquet(DvcStore(ctx.project).fetch(data.version) / "train.parquet")
    found = profile(rows)
    path = ctx.scratch("reference") / FILE
    found.write(path)
    ctx.log.info("profiled %d columns of %s training rows", len(found.columns), f"{found.rows:,}")
    return Reference(data_version=data.version, path=str(path), rows=found.rows, columns=len(found.columns))
