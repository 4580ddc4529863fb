"""What is found in the data besides distances: columns that came, went or changed their type, and odd values.

Nothing here is an alarm by itself. A severe finding says that the data is broken rather than different: comparing it
says little, and training on it would be a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tidemill.drift.critical import significant
from tidemill.drift.percent import percent

if TYPE_CHECKING:
    from tidemill.drift.sketch import CategoricalSketch, ColumnSketch, Sketch

Severity = Literal["info", "warning", "severe"]
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "info")

SEVERE_SHARE = 0.1
"""Nulls, or values of another type, in this many more of the rows break a column."""
NOTABLE_SHARE = 0.01
"""Less of the rows than this is worth knowing, and no more."""
CONSTANT_ROWS = 50
"""With fewer rows a column of one value may be chance."""
_ALPHA = 0.05
_NAMED = 5
_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a person has to know. ``column`` is ``None`` where it is about the data as a whole."""

    kind: str
    column: str | None
    severity: Severity
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON-ready object."""
        return asdict(self)


def findings(reference: Sketch, current: Sketch) -> list[Finding]:
    """What is found in ``current``, which was summarised against ``reference``; the reference's columns come first.

    Of a side without rows only that is said, besides columns that only one side has.
    """
    found = [*_empty(reference, current), *_columns(reference, current)]
    if not reference.rows or not current.rows:
        return found
    pairs = {
        name: (column, current.columns[name])
        for name, column in reference.columns.items()
        if name in current.columns and not retyped(column, current.columns[name])
    }
    certain = significant({name: _null_p_value(r, c) for name, (r, c) in pairs.items()}, _ALPHA)
    for name, (r, c) in pairs.items():
        found += _nulls(name, r, c, certain=certain[name])
        found += _values(name, r, c)
        found += _constant(name, r, c)
    return found


def _null_p_value(reference: ColumnSketch, current: ColumnSketch) -> float | None:
    import numpy as np

    from tidemill.drift.two_sample import two_sample

    sides = ([float(sketch.nulls), float(sketch.present)] for sketch in (reference, current))
    return two_sample(*map(np.array, sides))


def retyped(reference: ColumnSketch, current: ColumnSketch) -> bool:
    """Whether a column is of another kind than in the reference. Nulls alone have no type; and free text and
    categories are one type, which is told apart by how many there are."""
    from tidemill.drift.sketch import NULL_TYPE

    if reference.kind == current.kind == "other":
        return reference.dtype != current.dtype and NULL_TYPE not in (reference.dtype, current.dtype)
    if reference.kind == current.kind or {reference.kind, current.kind} <= {"categorical", "text"}:
        return False
    return bool(reference.present and current.present)


def _empty(reference: Sketch, current: Sketch) -> Iterator[Finding]:
    for side, sketch in (("the reference", reference), ("the current data", current)):
        if not sketch.rows:
            yield Finding(kind="empty", column=None, severity="severe", detail=f"{side} has no rows")


def _columns(reference: Sketch, current: Sketch) -> Iterator[Finding]:
    missing = [name for name in reference.columns if name not in current.columns]
    new = [name for name in current.columns if name not in reference.columns]
    if missing and len(missing) == len(reference.columns):
        detail = f"the two have no column in common: {listed(missing)} against {listed(new)}"
        yield Finding(kind="no_overlap", column=None, severity="severe", detail=detail)
    for name in missing:
        yield Finding(kind="missing_column", column=name, severity="severe", detail="missing in the current data")
    for name, r in reference.columns.items():
        c = current.columns.get(name)
        if c is not None and retyped(r, c):
            detail = f"the type has changed: {_type(r)} in the reference, {_type(c)} now"
            yield Finding(kind="retyped_column", column=name, severity="severe", detail=detail)
    for name in new:
        yield Finding(kind="new_column", column=name, severity="info", detail="not in the reference")


def _type(column: ColumnSketch) -> str:
    return column.dtype if column.kind == "other" else f"{column.kind} ({column.dtype})"


def listed(names: list[str], named: int = _NAMED) -> str:
    """Some names as a person reads them, and how many more there are."""
    if not names:
        return "no column"
    more = len(names) - named
    return ", ".join(names[:named]) + (f" and {more:,} more" if more > 0 else "")


def quoted(value: str) -> str:
    """A value of the data in quotes, without the rest of a long one."""
    return repr(value if len(value) <= _CHARS else value[: _CHARS - 1] + "…")


def _nulls(name: str, reference: ColumnSketch, current: ColumnSketch, *, certain: bool) -> Iterator[Finding]:
    before, now = reference.null_share, current.null_share
    if not current.present and reference.present:
        severity: Severity = "severe" if certain and now - before >= SEVERE_SHARE else "warning"
        detail = f"all rows are null now, {percent(before)} were"
        yield Finding(kind="null_rate", column=name, severity=severity, detail=detail)
    elif not reference.present and not current.present:
        yield Finding(kind="all_null", column=name, severity="info", detail="all rows are null, as in the reference")
    elif not reference.present:
        detail = f"all rows of the reference are null, {percent(now)} are now: there is nothing to compare with"
        yield Finding(kind="null_rate", column=name, severity="warning", detail=detail)
    elif certain and abs(now - before) >= NOTABLE_SHARE:
        risen = now > before
        severity = "info" if not risen else "severe" if now - before >= SEVERE_SHARE else "warning"
        detail = f"nulls have {'risen' if risen else 'fallen'} from {percent(before)} to {percent(now)}"
        yield Finding(kind="null_rate", column=name, severity=severity, detail=detail)


def _values(name: str, reference: ColumnSketch, current: ColumnSketch) -> Iterator[Finding]:
    from tidemill.drift.sketch import CategoricalSketch, NumericSketch, TimestampSketch

    if isinstance(reference, NumericSketch) and isinstance(current, NumericSketch):
        yield from _infinite(name, reference, current)
        yield from _unparsed(name, reference, current)
    elif isinstance(reference, CategoricalSketch) and isinstance(current, CategoricalSketch) and reference.present:
        yield from _new_categories(name, reference, current)
    elif isinstance(current, TimestampSketch) and current.outside:
        share = percent(current.outside / current.rows)
        detail = f"{current.outside:,} rows ({share}) hold times outside of the years 1 to 9999"
        yield Finding(kind="out_of_range", column=name, severity="warning", detail=detail)


def _infinite(name: str, reference: Any, current: Any) -> Iterator[Finding]:
    before = reference.negative_infinities + reference.positive_infinities
    now = current.negative_infinities + current.positive_infinities
    if now:
        known = f"; {percent(before / reference.rows)} of the reference's are, too" if before else ""
        detail = f"{now:,} rows ({percent(now / current.rows)}) are infinite{known}"
        yield Finding(kind="infinite", column=name, severity="info" if before else "warning", detail=detail)


def _unparsed(name: str, reference: Any, current: Any) -> Iterator[Finding]:
    before, now = reference.unparsed / reference.rows, current.unparsed / current.rows
    if not current.unparsed or now <= before:
        return
    examples = ", ".join(map(quoted, current.examples[:_NAMED]))
    detail = f"{current.unparsed:,} rows ({percent(now)}) hold text instead of numbers" + (
        f": {examples}" if examples else ""
    )
    severe = now - before >= SEVERE_SHARE
    yield Finding(kind="mixed_types", column=name, severity="severe" if severe else "warning", detail=detail)


def _new_categories(name: str, reference: CategoricalSketch, current: CategoricalSketch) -> Iterator[Finding]:
    """Categories that the reference certainly did not have: not those that may be among its pooled ones.

    That a column of many rare categories has new ones is to be expected: their share is about that of the
    reference's categories with one row (I. J. Good, "The population frequencies of species and the estimation of
    population parameters", Biometrika 40, 1953).
    """
    if reference.pooled:
        return
    known, counts = set(reference.categories), current.counts.tolist()
    new = {c: n for c, n in zip(current.categories, counts, strict=True) if n and c not in known}
    rows = sum(new.values()) + current.pooled
    if not rows:
        return
    share, expected = rows / current.rows, int((reference.counts == 1).sum()) / reference.rows
    names = [quoted(category) for category in sorted(new, key=lambda category: (-new[category], category))]
    count = f"{len(new):,}" if not current.pooled else f"more than {len(new):,}"
    noun = "new category" if count == "1" else "new categories"
    detail = f"{count} {noun} in {percent(share)} of the rows: {listed(names)}"
    notable = share >= NOTABLE_SHARE and share > 2 * expected
    yield Finding(kind="new_categories", column=name, severity="warning" if notable else "info", detail=detail)


def _constant(name: str, reference: ColumnSketch, current: ColumnSketch) -> Iterator[Finding]:
    now, before = constant(current), constant(reference)
    if now is None or current.present < CONSTANT_ROWS:
        return
    if before == now:
        detail = f"constant, as in the reference: {now}"
        yield Finding(kind="constant", column=name, severity="info", detail=detail)
    else:
        was = f"{before} in the reference" if before is not None else "it was not in the reference"
        detail = f"constant now: {now}; {was}"
        yield Finding(kind="constant", column=name, severity="warning", detail=detail)


def constant(column: ColumnSketch) -> str | None:
    """The only value that a column has besides nulls, as text; ``None`` if it has none, several, or this is not known
    of its kind."""
    from tidemill.drift.sketch import BooleanSketch, CategoricalSketch, NumericSketch

    match column:
        case NumericSketch() if column.finite and column.finite == column.present:
            return f"{column.minimum:g}" if column.minimum == column.maximum else None
        case BooleanSketch() if column.present:
            return "false" if not column.trues else "true" if not column.falses else None
        case CategoricalSketch() if not column.pooled:
            counts = column.counts.tolist()
            filled = [category for category, n in zip(column.categories, counts, strict=True) if n]
            return quoted(filled[0]) if len(filled) == 1 else None
    return None
