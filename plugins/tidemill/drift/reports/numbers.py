"""Numbers as people read them: short, and in steps that are round."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def short(value: float) -> str:
    """A number in few characters: ``12.3k``, ``4.5M``, ``0.0012``, ``1e-9``."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "–"
    size = abs(value)
    for bound, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if bound <= size < 1e15:
            scale = 1e3 if unit == "k" else bound
            return f"{value / scale:.3g}{unit}".replace("-", "−")
    text = f"{value:.4g}"
    mantissa, e, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if e else text).replace("-", "−")


def distance(value: float | None) -> str:
    """A distance with three decimals; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 100 else short(value)


def p_value(value: float | None) -> str:
    """A p-value; what is beyond all doubt is not told by its digits."""
    if value is None:
        return "–"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def time(seconds: float, width: float) -> str:
    """An instant as precise as ``width``, the seconds that are in view, asks for."""
    try:
        at = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return short(seconds)
    if width > 3 * 365 * 86400:
        return f"{at:%Y}"
    if width > 90 * 86400:
        return f"{at:%Y-%m}"
    return f"{at:%m-%d}" if width > 3 * 86400 else f"{at:%d %H:%M}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``, both included if they are round themselves."""
    width = high - low
    if not (width > 0 and math.isfinite(width)):
        return [low]
    step = 10 ** math.floor(math.log10(width / count))
    step *= next(factor for factor in (1, 2, 5, 10) if width / (step * factor) <= count + 0.5)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)][: 3 * count]


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Powers of ten from ``low`` to ``high``, thinned out to about ``count``; round numbers where there are none."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 1:
        return ticks(low, high, count)
    step = max(1, math.ceil((last - first + 1) / count))
    return [10.0**n for n in range(first, last + 1, step)]
