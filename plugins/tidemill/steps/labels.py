"""The true values of rows that were predicted before they were known: joined by key, doubtful ones left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.records import DataFinding, LabelReport
from tidemill.steps.context import StepContext
from tidemill.steps.sources import source_path

if TYPE_CHECKING:
    import polars as pl

CONTRADICTION = "contradicting_labels"
DUPLICATE = "duplicate_keys"


@dataclass(frozen=True)
class Labelled:
    """The rows that have a label that can be used, with it in the target's column; and how the others lost theirs."""

    frame: pl.DataFrame
    report: LabelReport
    findings: tuple[DataFinding, ...] = ()


def labelled(ctx: StepContext, rows: pl.DataFrame, start: datetime, end: datetime, ambiguous: int = 0) -> Labelled:
    """Join the labels of ``monitor.labels``, else the target of ``data.source``, to the rows of a window.

    Several labels for one key that agree are one. Of those that contradict none is used, nor of a row that shares the
    row's key (``data.key``) with another. Labels of keys that no row has are nobody's.

    Args:
        ctx: the run.
        rows: those of the window; a target of their own is left aside.
        start: the window's first instant.
        end: the instant after its last.
        ambiguous: rows with a key of several that were left out before.

    Raises:
        StepError: the labels cannot be read, lack a column, or have a key of another type than the rows.
    """
    import polars as pl

    from tidemill.tools import source

    data, given, target = ctx.spec.data, ctx.spec.monitor and ctx.spec.monitor.labels, ctx.spec.evaluate.target
    key = list(given.key or data.key) if given else list(data.key)
    whole = rows.height + ambiguous
    rows, doubled = _single(rows.drop(target, strict=False), data.key or key)
    path = source_path(ctx, given.source if given else data.source)
    within = None if given else (data.window.column, start, end)
    if given is None and target not in source.scan(path).collect_schema().names():
        found = rows.select(key).head(0).with_columns(pl.lit(None).alias(target))  # nobody says that it has any
    else:
        found = _known(source.matching(path, rows.select(key), [target], within=within), target)
    told = found.group_by(key, maintain_order=True).agg(
        pl.col(target).first(), _rows=pl.len(), _values=pl.col(target).unique(maintain_order=True)
    )
    odd = told.filter(pl.col("_values").list.len() > 1)
    agreed = told.filter(pl.col("_values").list.len() == 1)
    joined = rows.join(agreed.select(*key, target), on=key, how="inner", maintain_order="left")
    report = LabelReport(
        source=given.source if given else data.source,
        start=start,
        end=end,
        rows=whole,
        labelled=joined.height,
        repeated=agreed.filter(pl.col("_rows") > 1).height,
        contradicting=odd.height,
        ambiguous=ambiguous + doubled,
    )
    return Labelled(joined, report, tuple(_findings(report, odd, key, data.key or key, target)))


def with_target(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    """The rows that have a target of their own; none where there is no such column."""
    return _known(rows, target) if target in rows.columns else rows.head(0)


def _known(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    import polars as pl

    known = pl.col(target).is_not_null()
    if rows.schema[target].is_float():
        known &= pl.col(target).is_not_nan()
    return rows.filter(known)


def _single(rows: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """The rows whose key is theirs alone, and how many are not."""
    import polars as pl

    alone = rows.filter(~pl.struct(key).is_duplicated())
    return alone, rows.height - alone.height


def _findings(
    report: LabelReport, odd: pl.DataFrame, key: Sequence[str], identity: Sequence[str], target: str
) -> list[DataFinding]:
    found = []
    if report.contradicting:
        first = odd.row(0, named=True)
        example = f"{_named(first, key)}: {' and '.join(map(repr, first['_values'][:3]))}"
        keys = "1 key has" if report.contradicting == 1 else f"{report.contradicting:,} keys have"
        detail = f"{keys} labels in {report.source} that contradict each other, e.g. {example}; none of them is used"
        found.append(DataFinding(kind=CONTRADICTION, column=target, severity="warning", detail=detail))
    if report.ambiguous:
        detail = (
            f"{report.ambiguous:,} rows have a key ({', '.join(identity)}) that is not theirs alone, so that no label "
            "can be told to be theirs; they are left out"
        )
        found.append(DataFinding(kind=DUPLICATE, column=identity[0], severity="warning", detail=detail))
    return found


def _named(row: dict[str, Any], key: Sequence[str]) -> str:
    return ", ".join(f"{name}={row[name]!r}" for name in key)
