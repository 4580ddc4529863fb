"""How far a column's rows are from a reference: the population stability index (PSI).

PSI = Σ (pᵢ − qᵢ) · ln(pᵢ / qᵢ), where qᵢ is the share of the reference and pᵢ that of the current rows in bin
i. It is Kullback and Leibler's symmetric divergence J ("On Information and Sufficiency", Annals of
Mathematical Statistics 22, 1951), in use for the stability of scores since credit scoring (N. Siddiqi, "Credit
Risk Scorecards", Wiley 2006; the customary readings are < 0.1 stable, 0.1–0.25 some, > 0.25 much shift).
Without any shift it is about (1/n + 1/m) · χ² with B − 1 degrees of freedom for samples of n and m rows in B
bins (B. Yurdakul, "Statistical Properties of Population Stability Index", Western Michigan University 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tidemill.drift.profile import ColumnProfile, as_numbers, count_categories, count_numbers, kind_of

if TYPE_CHECKING:
    import polars as pl

EPSILON = 1e-4
"""Shares below this are taken as this: an empty bin would make the index infinite."""


class Distance(NamedTuple):
    """The distance, ``None`` where there is none, with the reason; ``bins`` that one of the two sides fills."""

    value: float | None
    note: str = ""
    bins: int = 0


def psi(reference: Sequence[float], current: Sequence[float], epsilon: float = EPSILON) -> float:
    """The population stability index of two sequences of shares, of the same bins in the same order.

    Non-negative, 0 only for equal shares (up to ``epsilon``), symmetric. Shares are floored at ``epsilon``
    and not scaled again, as is customary; the floor moves the sum of the shares by less than B · epsilon.

    Raises:
        ValueError: the sequences are of different length.
    """
    pairs = [(max(p, epsilon), max(q, epsilon)) for p, q in zip(current, reference, strict=True)]
    return math.fsum((p - q) * math.log(p / q) for p, q in pairs)


def distance(reference: ColumnProfile, values: pl.Series) -> Distance:
    """The PSI of a column's current rows to the reference, on the reference's bins and one for nulls."""
    import polars as pl

    if reference.kind == "other":
        return Distance(None, f"a column of type {reference.dtype} is not compared")
    kind, rows = kind_of(values), len(values)
    only_nulls = values.dtype == pl.Null or reference.dtype == "Null"
    if kind != reference.kind and not only_nulls:
        return Distance(None, f"the type changed: {reference.dtype} in the reference, {values.dtype} now")
    if not reference.shares and reference.nulls == 0:
        return Distance(None, "the reference has no rows")
    if rows == 0:
        return Distance(None, "there are no rows to compare")
    before, now = _shares(reference, values, rows)
    notes = []
    if reference.nulls == 1:
        notes.append("the reference has nulls only")
    if reference.distinct is not None and reference.distinct > len(reference.categories):
        kept = len(reference.categories)
        notes.append(f"{reference.distinct:,} categories: all but the {kept} most frequent are one bin")
    unseen = _unseen(reference, values)
    if unseen:
        notes.append(unseen)
    filled = sum(1 for p, q in zip(now, before, strict=True) if p or q)
    return Distance(psi(before, now), "; ".join(notes), filled)


def by_chance(bins: int, n: int, m: int) -> float:
    """The PSI to expect of samples of n and m rows in so many bins when nothing has shifted (Yurdakul 2018)."""
    return (bins - 1) * (1 / n + 1 / m) if bins > 1 and n and m else 0.0


def _shares(reference: ColumnProfile, values: pl.Series, rows: int) -> tuple[list[float], list[float]]:
    """The shares of reference and current rows, bin by bin; the last bin is that of nulls."""
    if reference.kind == "numeric":
        if values.dtype.is_numeric():
            numbers = as_numbers(values)
            counts = count_numbers(numbers, reference.edges)
            nulls = rows - len(numbers)
        else:  # a column of nulls only has no type
            counts, nulls = [0] * (len(reference.edges) + 1), rows
        before = [*(reference.shares or [0.0] * len(counts)), reference.nulls]
    else:
        found = count_categories(values) if kind_of(values) == "categorical" else {"": len(values.drop_nulls())}
        known = [found.pop(name, 0) for name in reference.categories]
        counts = [*known, sum(found.values())]
        nulls = rows - sum(counts)
        before = [*reference.shares, reference.rest, reference.nulls]
    return before, [n / rows for n in [*counts, nulls]]


def _unseen(reference: ColumnProfile, values: pl.Series) -> str:
    """Names a few categories that the reference did not have, where it is known that it did not."""
    if reference.kind != "categorical" or reference.rest or kind_of(values) != "categorical":
        return ""
    new = [name for name in count_categories(values) if name not in reference.categories]
    if not new:
        return ""
    shown = ", ".join(repr(name) for name in new[:5])
    return f"not in the reference: {shown}" + (f" and {len(new) - 5:,} more" if len(new) > 5 else "")
