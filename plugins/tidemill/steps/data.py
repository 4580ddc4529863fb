"""Step `data`: select the rows of the run's window, check them, and give them a version.

With `as_of` the run's instant, the holdout is [as_of - holdout, as_of) and the training rows are the `train`
before it, so that the two never overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tidemill.records import DataVersion, Part, Promotion
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.data_versions import fetched, last, protect_champion, stores_of
from tidemill.steps.sources import located

if TYPE_CHECKING:
    import polars as pl

    from tidemill.ledger import Entry
    from tidemill.spec.models import Spec, Window
    from tidemill.tools.versions import Kept


@dataclass(frozen=True)
class Spans:
    """The window in UTC: training rows lie in [start, middle), the holdout in [middle, end)."""

    start: datetime
    middle: datetime
    end: datetime

    @classmethod
    def of(cls, window: Window, as_of: datetime) -> Self:
        """The bounds for a run that stands at `as_of`."""
        middle = window.holdout.before(as_of)
        return cls(window.train.before(middle), middle, as_of)


def run(ctx: StepContext) -> DataVersion:
    """Version the window's rows and record the version in the ledger.

    Raises:
        StepSkipped: this very training has been done before, which is recorded in the ledger.
        StepError: a part of the window is empty, a column is missing, the key does not identify rows, the
            target has no value, or the rows cannot be stored.
    """
    from tidemill.steps.ledger_io import record
    from tidemill.tools import source

    data, spans = ctx.spec.data, Spans.of(ctx.spec.data.window, ctx.as_of.instant)
    found = located(ctx, data.source)
    path, column = found.path, data.window.column
    rows = source.window(path, column, spans.start, spans.end, order=data.key, columns=_named(ctx.spec))
    train, holdout = source.split(rows, column, spans.middle)
    parts = {"train": train, "holdout": holdout}
    _check_parts(path, column, spans, parts)
    _check_key(path, data.key, rows)
    _check_target(path, ctx.spec.evaluate.target, parts)
    kept = _store(ctx, parts)
    version = kept.version
    result = DataVersion(
        version=version,
        backend=data.version,
        source=data.source,
        source_version=found.version,
        path="",
        train=Part(name="train", rows=train.height, start=spans.start, end=spans.middle),
        holdout=Part(name="holdout", rows=holdout.height, start=spans.middle, end=spans.end),
        columns={name: str(dtype) for name, dtype in rows.schema.items()},
        objects=kept.objects,
        keep=None if data.keep is None else str(data.keep),
    )
    result = replace(result, path=str(fetched(ctx, result)))
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, "data_version", result)
    _check_superseded(ctx, version)
    ctx.log.info("data version %s: %d training, %d holdout rows", version, train.height, holdout.height)
    return result


def _named(spec: Spec) -> list[str]:
    """The columns that the spec names besides time and key; that one is missing shows before the training."""
    watched = spec.monitor.drift.columns if spec.monitor and spec.monitor.drift else None
    return [spec.evaluate.target, *spec.evaluate.slices, *(watched or [])]


def _check_parts(path: Path, column: str, spans: Spans, parts: dict[str, pl.DataFrame]) -> None:
    from tidemill.tools import source

    for name, start, end in (("train", spans.start, spans.middle), ("holdout", spans.middle, spans.end)):
        if parts[name].is_empty():
            what = "training rows" if name == "train" else "holdout rows"
            raise source.SourceError(f"no {what}: {source.no_rows(path, column, start, end)}")


def _check_key(path: Path, key: list[str], rows: pl.DataFrame) -> None:
    import polars as pl

    if not key:
        return
    named = ", ".join(key)
    without = rows.filter(pl.any_horizontal(pl.col(key).is_null())).height
    if without:
        raise StepError(f"{path}: {without:,} rows of the window have no value in their key ({named}).")
    counted = rows.group_by(key, maintain_order=True).len().filter(pl.col("len") > 1)
    if counted.height:
        example = ", ".join(f"{name}={value!r}" for name, value in zip(key, counted.row(0), strict=False))
        raise StepError(
            f"{path}: the key ({named}) does not identify the window's rows: {counted.height:,} keys occur "
            f"more than once, in {counted['len'].sum():,} rows; e.g. {example} in {counted['len'][0]:,}. "
            "Remove the duplicates, or name more columns in data.key."
        )


def _check_target(path: Path, target: str, parts: dict[str, pl.DataFrame]) -> None:
    for name, rows in parts.items():
        values = rows[target]
        present = values.fill_nan(None) if values.dtype.is_float() else values
        if present.null_count() == rows.height:
            raise StepError(
                f'{path}: the target "{target}" has no value in any of the {rows.height:,} {name} rows. Are '
                "the labels of this window there yet? Check evaluate.target and data.window."
            )


def _store(ctx: StepContext, parts: dict[str, pl.DataFrame]) -> Kept:
    import shutil

    from tidemill.ledger import views
    from tidemill.tools import source
    from tidemill.tools.versions import room

    stores, folder = stores_of(ctx), ctx.scratch("data")
    store = stores(ctx.spec.data.version)
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model, kinds={views.DATA_VERSION, views.PROMOTION, views.ROLLBACK})
    # Before these rows take the place of those that the champion was trained on: from then on their time runs.
    protect_champion(stores, entries, ctx.log)
    try:
        with room(folder):
            shutil.rmtree(folder)
            folder.mkdir()
            for name, rows in parts.items():
                source.write(rows, folder / f"{name}.parquet")
        kept = store.add(folder, lambda version: last(entries, version))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    store.lifecycle(last(entry for entry in entries if entry.body.get("keep")))
    return kept


def _check_superseded(ctx: StepContext, version: str) -> None:
    """One training for one `as_of`, data, spec and code is enough: another would only repeat it."""
    from tidemill.ledger import views
    from tidemill.steps.code import code_version
    from tidemill.steps.ledger_io import record

    code = code_version(ctx.project.root)
    same = {"data_version": version, "spec_hash": ctx.spec_hash, "code_version": code}
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model, kinds={views.PROMOTION, views.ROLLBACK})
        first = next((e.body for e in entries if _is_another_training(ctx, e, same)), None)
        if first is None:
            return
        why = (
            f"run {first.get('dag_run')} trained version {first['version']} on the same data, spec and code "
            f"for the same as_of; it was {first['outcome']}"
        )
        champion = views.champion(entries)
        promotion = Promotion(
            model=ctx.model,
            version="",
            outcome="superseded",
            reasons=(why,),
            champion_before=None if champion is None else str(champion.body["version"]),
            data_version=version,
        )
        record(ledger, ctx, views.PROMOTION, promotion, extra={"code_version": code})
    raise StepSkipped(f"superseded: {why}", promotion)


def _is_another_training(ctx: StepContext, entry: Entry, same: Mapping[str, str]) -> bool:
    """Whether the entry ends a training of the same, in a run that is not this one, cleared and run again."""
    body = entry.body
    return (
        body.get("outcome") in ("promoted", "refused")
        and entry.as_of == ctx.as_of.instant
        and all(body.get(name) == value for name, value in same.items())
        and (body.get("dag_id"), body.get("dag_run")) != (ctx.dag_id, ctx.run_id)
    )
