"""Doubles as integers: in their order, and as decimal fractions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PLACES = 6
"""Decimal fractions are looked for with up to so many places."""
CODES = (*range(PLACES + 1), *range(-1, -PLACES - 2, -1))
"""Numbers of decimal places: of doubles, and, less one and negative, of 32-bit numbers."""


def to_ordered(values: Floats) -> NDArray[np.uint64]:
    """Numbers as integers in the same order; neighbours differ by one."""
    import numpy as np

    bits = values.view(np.uint64)
    negative = bits >> np.uint64(63) == 1
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


def from_ordered(order: NDArray[np.uint64]) -> Floats:
    """The inverse of ``to_ordered``."""
    import numpy as np

    positive = order >> np.uint64(63) == 1
    return np.where(positive, order & np.uint64((1 << 63) - 1), ~order).view(np.float64)


def whole_numbers(values: Floats, code: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The numbers without their decimal point, and which of them are such decimal fractions exactly."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(values * 10.0 ** _places(code))
    whole = np.where(np.abs(whole) < 2.0**53, whole, 0.0).astype(np.int64)
    return whole, fractions(whole, code) == values


def fractions(whole: Any, code: int) -> Floats:
    """The decimal fractions that these whole numbers stand for."""
    import numpy as np

    found: Floats = whole / 10.0 ** _places(code)
    return found if code >= 0 else found.astype(np.float32).astype(np.float64)


def _places(code: int) -> int:
    return code if code >= 0 else -1 - code
