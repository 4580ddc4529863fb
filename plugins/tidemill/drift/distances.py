"""The distances of a column's rows from a reference, computed from two sketches. docs/drift.md defines each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tidemill.drift.sketch import (
    NULL_TYPE,
    BooleanSketch,
    CategoricalSketch,
    ColumnSketch,
    NumericSketch,
    OtherSketch,
    TextSketch,
    TimestampSketch,
)
from tidemill.drift.two_sample import MIN_EXPECTED, two_sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shares = NDArray[np.float64]

EPSILON = 1e-4
"""Shares below this are taken as this where a distance would be infinite without."""
NAMES = ("psi", "js", "ks", "wasserstein", "hellinger", "linf", "chi2")


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Every distance, ``None`` where it does not exist; ``notes`` says why, by the distance's name.

    ``p_value`` is that of "nothing has changed" by the ``test`` named. ``bins`` are those of PSI that either side
    fills, the bin of nulls included. ``remarks`` are what is to be known besides.
    """

    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    hellinger: float | None = None
    linf: float | None = None
    chi2: float | None = None
    p_value: float | None = None
    test: Literal["ks", "chi2"] | None = None
    bins: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def distances(reference: ColumnSketch, current: ColumnSketch) -> Distances:
    """All distances of ``current`` from ``reference``.

    Numbers are compared bin by bin on the reference's edges; where ``current`` was not counted on them, it is
    spread over them evenly within each of its own bins, and a remark says so.
    """
    why = _incomparable(reference, current)
    if why:
        return _none(why)
    if _nulls_only(reference) or _nulls_only(current):
        return _against_nulls(reference, current)
    match reference, current:
        case NumericSketch(), NumericSketch():
            return _numbers(reference, current)
        case TextSketch(), TextSketch():
            return _numbers(reference.lengths, current.lengths, ("compared by the length of its texts",))
        case _:
            return _categories(as_categories(reference), as_categories(current))


def shares(reference: ColumnSketch, current: ColumnSketch) -> tuple[tuple[str, ...], Shares, Shares]:
    """The bins of PSI, as labels, and the shares of the reference's and of the current rows in each; for charts.
    Empty where the columns cannot be compared."""
    import numpy as np

    if _incomparable(reference, current) or _nulls_only(reference) or _nulls_only(current):
        return (), np.zeros(0), np.zeros(0)
    if isinstance(reference, TextSketch) and isinstance(current, TextSketch):
        reference, current = reference.lengths, current.lengths
    if isinstance(reference, NumericSketch) and isinstance(current, NumericSketch):
        edges, before = _with_nulls(reference)
        _, now = _with_nulls(on_edges(current, reference)[0])
        names = [f"≤ {edge:.4g}" for edge in edges] + ([f"> {edges[-1]:.4g}"] if len(edges) else ["all"])
    else:
        aligned = align(as_categories(reference), as_categories(current))
        names, before, now = [*aligned.names, "(others)"], aligned.before, aligned.now
    return (*names, "(null)"), before / reference.rows, now / current.rows


def on_edges(current: NumericSketch, reference: NumericSketch) -> tuple[NumericSketch, bool]:
    """``current`` on the reference's edges, and whether it was there already."""
    import numpy as np

    if current.edges is reference.edges or np.array_equal(current.edges, reference.edges):
        if not np.array_equal(current.deciles, reference.deciles):
            from dataclasses import replace

            current = replace(current, deciles=reference.deciles)
        return current, True
    from tidemill.drift.merging import rebin

    return rebin(current, reference.edges, reference.deciles), False


def psi(before: Shares, now: Shares) -> float:
    """The population stability index Σ (pᵢ - qᵢ) ln(pᵢ / qᵢ) of shares of the same bins, floored at ``EPSILON``.

    Kullback and Leibler's divergence J (Annals of Mathematical Statistics 22, 1951).
    """
    import numpy as np

    p, q = np.maximum(now, EPSILON), np.maximum(before, EPSILON)
    return math.fsum((p - q) * np.log(p / q))


def jensen_shannon(before: Shares, now: Shares) -> float:
    """The Jensen-Shannon distance: the root of the divergence to base 2, from 0 to 1. Shares are scaled to sum to 1.

    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991;
    that its root is a metric: Endres and Schindelin, ibid. 49, 2003.
    """
    import numpy as np

    p, q = now / math.fsum(now), before / math.fsum(before)
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / m), 0.0)
        right = np.where(q > 0, q * np.log2(q / m), 0.0)
    return math.sqrt(min(max((math.fsum(left) + math.fsum(right)) / 2, 0.0), 1.0))


def hellinger(before: Shares, now: Shares) -> float:
    """The Hellinger distance √(½ Σ (√pᵢ - √qᵢ)²), from 0 to 1. Shares are scaled to sum to 1.

    E. Hellinger, Journal für die reine und angewandte Mathematik 136, 1909.
    """
    import numpy as np

    p, q = now / math.fsum(now), before / math.fsum(before)
    return math.sqrt(min(math.fsum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2, 1.0))


def pearson(before: Shares, now: Shares) -> float:
    """Pearson's χ² divergence Σ (pᵢ - qᵢ)² / qᵢ of shares, floored at ``EPSILON``: an effect size, which the number
    of rows does not inflate as it does the test's statistic.

    K. Pearson, Philosophical Magazine 50, 1900; as a divergence: Csiszár, Studia Sci. Math. Hungarica 2, 1967.
    """
    import numpy as np

    p, q = np.maximum(now, EPSILON), np.maximum(before, EPSILON)
    return math.fsum((p - q) ** 2 / q)


def _incomparable(reference: ColumnSketch, current: ColumnSketch) -> str:
    """Why nothing can be said of the two; empty if something can."""
    for sketch, where in ((reference, "in the reference"), (current, "now")):
        if isinstance(sketch, TimestampSketch):
            return f"a column of type {sketch.dtype} is not compared: times move with the window"
        if isinstance(sketch, OtherSketch) and sketch.dtype != NULL_TYPE:
            return f"a column of type {sketch.dtype} {where} is not compared"
    if not reference.rows:
        return "the reference has no rows"
    if not current.rows:
        return "there are no rows to compare"
    if reference.kind != current.kind and not _nulls_only(reference) and not _nulls_only(current):
        return f"the type changed: {reference.dtype} in the reference, {current.dtype} now"
    return ""


def _nulls_only(sketch: ColumnSketch) -> bool:
    return sketch.nulls == sketch.rows


def _none(why: str, test: Literal["ks", "chi2"] | None = None) -> Distances:
    return Distances(notes=dict.fromkeys((*NAMES, "p_value"), why), test=test)


def _against_nulls(reference: ColumnSketch, current: ColumnSketch) -> Distances:
    """One side has nulls only: two bins, of nulls and of the rest."""
    import numpy as np

    before = np.array([reference.present, reference.nulls], dtype=np.float64)
    now = np.array([current.present, current.nulls], dtype=np.float64)
    where = "the reference has" if _nulls_only(reference) else "the current rows have"
    why = f"{where} nulls only"
    numeric = "numeric" in (reference.kind, current.kind) or "text" in (reference.kind, current.kind)
    notes = dict.fromkeys(("ks", "wasserstein"), why if numeric else "exists for numbers only")
    return _of_bins(before, now, floor=True, notes=notes, remarks=(why,), p_value=two_sample(before, now), test="chi2")


def _of_bins(
    before: Shares,
    now: Shares,
    *,
    floor: bool,
    notes: dict[str, str],
    remarks: tuple[str, ...] = (),
    **others: Any,
) -> Distances:
    """The distances of shares from the rows in each bin; ``floor``: those at 1e-4 too that would do without."""
    import numpy as np

    filled = int(np.count_nonzero((before > 0) | (now > 0)))
    q, p = before / before.sum(), now / now.sum()
    q_, p_ = (np.maximum(q, EPSILON), np.maximum(p, EPSILON)) if floor else (q, p)
    return Distances(
        psi=psi(q, p),
        js=jensen_shannon(q_, p_),
        hellinger=hellinger(q_, p_),
        linf=float(np.max(np.abs(p_ - q_))),
        chi2=pearson(q, p),
        bins=filled,
        notes=notes,
        remarks=remarks,
        **others,
    )


def _with_nulls(sketch: NumericSketch) -> tuple[Shares, Shares]:
    """The decile edges, and the rows of each bin and of nulls; text where a number belongs counts as null."""
    import numpy as np

    edges, counts = sketch.decile_counts()
    return edges, np.append(counts, sketch.nulls + sketch.unparsed).astype(np.float64)


def _numbers(reference: NumericSketch, current: NumericSketch, remarks: tuple[str, ...] = ()) -> Distances:
    from tidemill.drift.numeric_distances import kolmogorov_smirnov, ks_p_value, wasserstein

    current, same = on_edges(current, reference)
    if not same:
        remarks += ("approximate: the two were not counted on the same edges",)
    elif max(reference.error, current.error) > 0:
        remarks += (f"approximate: shares may be off by {reference.error + current.error:.2%}",)
    for sketch, where in ((reference, "of the reference"), (current, "of these")):
        if sketch.unparsed:
            shown = ", ".join(repr(text) for text in sketch.examples)
            remarks += (f"{sketch.unparsed:,} rows {where} are text where numbers belong: {shown}",)
    notes = {}
    far, why = wasserstein(reference, current)
    if why:
        notes["wasserstein"] = why
    _, before = _with_nulls(reference)
    _, now = _with_nulls(current)
    if not reference.values or not current.values:
        side = "the reference has" if not reference.values else "the current rows have"
        notes["ks"] = f"{side} no numbers"
        return _of_bins(
            before, now, floor=True, notes=notes, remarks=remarks, p_value=two_sample(before, now), test="chi2"
        )
    statistic = kolmogorov_smirnov(reference, current)
    p_value = ks_p_value(statistic, reference.values, current.values)
    missing = two_sample(_split(reference), _split(current))
    if missing is not None:  # either test may see the change: Bonferroni's correction for two
        p_value = min(1.0, 2 * min(p_value, missing))
    return _of_bins(
        before,
        now,
        floor=True,
        notes=notes,
        remarks=remarks,
        ks=statistic,
        wasserstein=far,
        p_value=p_value,
        test="ks",
    )


def _split(sketch: NumericSketch) -> Shares:
    import numpy as np

    return np.array([sketch.values, sketch.rows - sketch.values], dtype=np.float64)


@dataclass(frozen=True)
class Aligned:
    """Rows by category (``names``: the reference's, then those that it did not have), then those of categories that
    are not told apart, then nulls."""

    names: tuple[str, ...]
    before: Shares
    now: Shares


def align(reference: CategoricalSketch, current: CategoricalSketch) -> Aligned:
    """The rows of both sides by category. A category that may be among the reference's pooled ones is pooled."""
    import numpy as np

    known = len(reference.categories)
    if current.categories[:known] == reference.categories:
        kept, rest = current.counts[:known], current.counts[known:]
        names = current.categories[known:]
    else:
        found = dict(zip(current.categories, current.counts.tolist(), strict=True))
        kept = np.array([found.pop(name, 0) for name in reference.categories], dtype=np.int64)
        names, rest = tuple(found), np.array(list(found.values()), dtype=np.int64)
    pooled = current.pooled
    if reference.pooled:
        pooled += int(rest.sum())
        names, rest = (), rest[:0]
    return Aligned(
        names=(*reference.categories, *names),
        before=np.concatenate([reference.counts, np.zeros(len(rest)), [reference.pooled, reference.nulls]]),
        now=np.concatenate([kept, rest, [pooled, current.nulls]]).astype(np.float64),
    )


def _categories(reference: CategoricalSketch, current: CategoricalSketch) -> Distances:
    import numpy as np

    aligned = align(reference, current)
    remarks = []
    if reference.pooled:
        kept = len(reference.categories)
        count = f"{reference.distinct:,}" if reference.distinct is not None else "more"
        about = "" if reference.distinct_exact else "about "
        remarks.append(f"{about}{count} categories: all but the {kept:,} most frequent are one bin")
    if reference.undercount:
        remarks.append(f"a category of the reference may have {reference.undercount:,} rows more than counted")
    if current.undercount and not reference.pooled:
        remarks.append(f"a category that is new may have {current.undercount:,} rows more than counted")
    notes = dict.fromkeys(("ks", "wasserstein"), "exists for numbers only")
    before, now = aligned.before, aligned.now
    found = _of_bins(
        before,
        now,
        floor=False,
        notes=notes,
        remarks=tuple(remarks),
        p_value=two_sample(*common(aligned, int(reference.counts.min(initial=0)) if reference.pooled else 0)),
        test="chi2",
    )
    if not current.pooled or reference.pooled:
        return found
    # Of new categories that are not told apart, none is known to have a share of its own.
    alone = np.delete(np.abs(now / now.sum() - before / before.sum()), -2)
    from dataclasses import replace

    return replace(found, linf=float(alone.max()))


def common(aligned: Aligned, least: int) -> tuple[Shares, Shares]:
    """Rows by category of those that are common in both samples together, then of all others, then nulls.

    For a test, what is told apart must not be chosen by one of the samples: categories that only one of them has
    are many wherever there are many rare ones, and pooled they are a difference without any change. ``least``: the
    rows of the rarest category that the reference kept by name, if it did not keep all; those that might as well
    not have been kept are rare, too.
    """
    import numpy as np

    before, now = aligned.before[:-2], aligned.now[:-2]
    n, m = float(aligned.before.sum()), float(aligned.now.sum())
    both = before + now
    rare = (both * min(n, m) / (n + m) < MIN_EXPECTED) | (both * n / (n + m) < least + 4 * math.sqrt(least))

    def split(rows: Shares, others: float, nulls: float) -> Shares:
        return np.concatenate([rows[~rare], [rows[rare].sum() + others, nulls]])

    return split(before, *aligned.before[-2:]), split(now, *aligned.now[-2:])


def as_categories(sketch: ColumnSketch) -> CategoricalSketch:
    """A sketch of booleans as one of two categories; one of categories as it is."""
    import numpy as np

    if isinstance(sketch, BooleanSketch):
        counts = np.array([sketch.falses, sketch.trues], dtype=np.int64)
        return CategoricalSketch(
            dtype=sketch.dtype, rows=sketch.rows, nulls=sketch.nulls, categories=("false", "true"), counts=counts
        )
    assert isinstance(sketch, CategoricalSketch)
    return sketch
