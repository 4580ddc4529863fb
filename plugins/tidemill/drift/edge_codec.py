"""Edges as small integers, and back, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemill.drift.doubles import CODES, fractions, from_ordered, to_ordered, whole_numbers
from tidemill.drift.edges import BITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DECIMAL = 0.9
"""Edges are stored as decimal fractions if this share of them are."""
ORDERED, FRACTION, BEFORE = 0, 1, 2
"""How an edge is stored among decimal fractions: bit by bit; as one; as the number before the next edge."""


def pack_steps(edges: Floats) -> tuple[Any, Any]:
    """The steps from edge to edge, counted in doubles, as what is before and the number of zeros at the end: so many
    that ``BITS`` bits are before them if that is enough, as it is for edges that were rounded."""
    import numpy as np

    steps = np.diff(to_ordered(edges), prepend=np.uint64(0))
    lowest = steps & (~steps + np.uint64(1))
    zeros = np.frexp(lowest.astype(np.float64))[1] - 1
    high = steps & ~(steps >> np.uint64(1))  # has the highest bit, and is not rounded up to the next
    bits = np.frexp(high.astype(np.float64))[1]
    shifts = np.where(zeros >= bits - BITS, np.maximum(bits - BITS, 0), zeros).astype(np.uint8)
    return shifts, steps >> shifts.astype(np.uint64)


def unpack_steps(shifts: Any, steps: Any) -> Floats:
    """The inverse of ``pack_steps``."""
    import numpy as np

    return from_ordered(np.cumsum(steps << shifts.astype(np.uint64), dtype=np.uint64))


def pack_decimals(edges: Floats) -> tuple[int, Any, Any] | None:
    """The number of decimal places (less one and negative: of 32-bit numbers), how each edge is stored, and the
    steps from one whole number to the next; None if the edges are no decimal fractions, or are smaller as steps."""
    import numpy as np

    if not len(edges):
        return None
    for code in CODES:
        whole, fraction = whole_numbers(edges, code)
        with np.errstate(over="ignore"):
            before = np.append(edges[:-1] == np.nextafter(edges[1:], -np.inf), False)
        before &= ~fraction & np.append(fraction[1:], False)
        if (fraction | before).mean() >= DECIMAL:
            how = np.where(fraction, FRACTION, np.where(before, BEFORE, ORDERED)).astype(np.uint8)
            steps = np.where(how == ORDERED, to_ordered(edges), np.uint64(0))
            step = np.diff(whole[fraction], prepend=0)
            steps[fraction] = ((step << 1) ^ (step >> 63)).view(np.uint64)
            return (code, how, steps) if _bits(steps) < _bits(pack_steps(edges)[1]) else None
    return None


def unpack_decimals(how: Any, steps: Any, code: int) -> Floats:
    """The inverse of ``pack_decimals``."""
    import numpy as np

    edges = from_ordered(steps)
    folded = steps[how == FRACTION]
    step = (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)
    edges[how == FRACTION] = fractions(np.cumsum(step), code)
    before = np.flatnonzero(how == BEFORE)
    with np.errstate(over="ignore"):
        edges[before] = np.nextafter(edges[before + 1], -np.inf)
    return edges


def _bits(steps: Any) -> int:
    """The bits that all steps have together."""
    import numpy as np

    return int(np.frexp(steps.astype(np.float64))[1].sum())
