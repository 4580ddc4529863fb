"""The trigger ``new_data``: so many rows are later than those that the champion was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import DATA_VERSION, champion
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext
from tidemill.steps.sources import source_path

if TYPE_CHECKING:
    from tidemill.ledger import Entry

NEW_DATA = "new_data"


def trained_until(entries: Sequence[Entry], at: datetime) -> tuple[str, datetime] | None:
    """The version of the champion in force at ``at``, and the instant before which its training rows lie; ``None``
    without a champion, or if the ledger does not hold the data version it was trained on."""
    in_force = champion(entries, at)
    if in_force is None:
        return None
    for entry in reversed(entries):
        if entry.kind == DATA_VERSION and entry.body.get("version") == in_force.body.get("data_version"):
            train: Any = entry.body.get("train") or {}
            return str(in_force.body["version"]), datetime.fromisoformat(train["end"])
    return None


def judge(rows: int, asked: int, version: str, since: datetime) -> tuple[str, bool]:
    """In words with numbers whether there are enough new rows, and the answer."""
    text = f"{rows:,} rows are later than the training rows of version {version}, which end at {format_instant(since)}"
    return f"{text}; new_data is {asked:,}", rows >= asked


def look(ctx: StepContext, entries: Sequence[Entry]) -> tuple[int, str, bool] | None:
    """How many rows of the source before ``as_of`` are new, what there is to say of it, and whether it is an alarm;
    ``None`` where the trigger is not asked for, or there is no champion to compare with.

    Raises:
        StepError: the source cannot be read.
    """
    retrain = ctx.spec.retrain
    if retrain is None or NEW_DATA not in retrain.triggers or retrain.new_data is None:
        return None
    found = trained_until(entries, ctx.as_of.instant)
    if found is None:
        return None
    from tidemill.tools.source import count_rows

    version, since = found
    data = ctx.spec.data
    rows = 0
    if since < ctx.as_of.instant:
        rows = count_rows(source_path(ctx, data.source), data.window.column, since, ctx.as_of.instant)
    text, enough = judge(rows, retrain.new_data, version, since)
    return rows, text, enough
