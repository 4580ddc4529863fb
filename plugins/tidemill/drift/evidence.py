"""What two sketches tell of each column, ready to be judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidemill.drift.critical import Sizes
from tidemill.drift.decide import DISTANCES, Evidence

if TYPE_CHECKING:
    from tidemill.drift.sketch import ColumnSketch, NumericSketch, Sketch

NOT_COMPARED = frozenset({"timestamp", "other"})


def gather(reference: Sketch, current: Sketch) -> list[Evidence]:
    """The evidence on each column that both sketches have, in the reference's order."""
    return [
        _column(name, column, current.columns[name])
        for name, column in reference.columns.items()
        if name in current.columns
    ]


def _column(name: str, reference: ColumnSketch, current: ColumnSketch) -> Evidence:
    from tidemill.drift.distances import distances

    found = distances(reference, current)
    values = {distance: getattr(found, distance) for distance in DISTANCES}
    known = any(value is not None for value in values.values())
    # Where all rows are in one bin there is nothing to test, and nothing has changed.
    p_value = 1.0 if known and found.p_value is None else found.p_value
    before, now = _numbers(reference), _numbers(current)
    return Evidence(
        chance=_chance(reference, current) if known else None,
        name=name,
        kind=reference.kind,
        distances=values,
        p_value=p_value,
        sizes=Sizes(
            n=reference.rows,
            m=current.rows,
            bins=found.bins,
            values=(before.values, now.values) if before is not None and now is not None else None,
            spread=_spread(before) if before is not None else None,
        ),
        notes=found.notes,
        remarks=found.remarks,
        judged=reference.kind not in NOT_COMPARED,
    )


def _chance(reference: ColumnSketch, current: ColumnSketch) -> Callable[[str, float], float | None] | None:
    """The critical values of categories of which some are rare."""
    from tidemill.drift.distances import align, as_categories
    from tidemill.drift.permuted import is_sparse, permuted_critical
    from tidemill.drift.sketch import BooleanSketch, CategoricalSketch

    compared = (BooleanSketch, CategoricalSketch)
    if not isinstance(reference, compared) or not isinstance(current, compared):
        return None
    aligned = align(as_categories(reference), as_categories(current))
    if not is_sparse(aligned.before, aligned.now):
        return None
    return lambda distance, alpha: permuted_critical(distance, aligned.before, aligned.now, alpha)


def _numbers(column: ColumnSketch) -> NumericSketch | None:
    from tidemill.drift.sketch import NumericSketch, TextSketch

    if isinstance(column, TextSketch):
        return column.lengths
    return column if isinstance(column, NumericSketch) else None


def _spread(column: NumericSketch) -> float | None:
    """∫ √(F (1 - F)) dx in standard deviations, by the trapezoidal rule between the edges.

    In the outermost bins, of which the length L and the mean excess over the edge are known, it is at most the root
    of L times that excess (Jensen's inequality, for √(F (1 - F)) ≤ √(1 - F)), if that is less.
    """
    import numpy as np

    deviation, edges = column.std, column.edges
    if not deviation or not math.isfinite(deviation) or not len(edges):
        return None
    assert column.minimum is not None
    assert column.maximum is not None
    below = np.cumsum(column.counts)[:-1] / column.finite
    height = np.sqrt(below * (1 - below))
    low, high = max(0.0, edges[0] - column.minimum), max(0.0, column.maximum - edges[-1])
    under = max(0.0, float(edges[0] * column.counts[0] - column.sums[0]) / column.finite)
    over = max(0.0, float(column.sums[-1] - edges[-1] * column.counts[-1]) / column.finite)
    left = min(height[0] * low / 2, math.sqrt(low * under)) if low else 0.0
    right = min(height[-1] * high / 2, math.sqrt(high * over)) if high else 0.0
    inner = float(((height[1:] + height[:-1]) / 2 * np.diff(edges)).sum())
    total = (inner + left + right) / deviation
    return total if math.isfinite(total) else None
