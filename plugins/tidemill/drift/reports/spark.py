"""A column's picture in a few characters: bars of eighths of a character's height."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.drift.reports.picture import Histogram, Picture

_BARS = "▁▂▃▄▅▆▇█"
WIDTH = 10


def sparks(picture: Picture) -> tuple[str, str]:
    """Reference and current as bars of equal scale; a share of none is a space."""
    if isinstance(picture, Histogram):
        before = _narrow(picture.reference) + [bar.reference for bar in picture.aside]
        now = _narrow(picture.current) + [bar.current for bar in picture.aside]
    else:
        before = [bar.reference for bar in picture.bars[:WIDTH]]
        now = [bar.current for bar in picture.bars[:WIDTH]]
    top = max((*before, *now), default=0.0) or 1.0
    return _draw(before, top), _draw(now, top)


def _narrow(shares: Sequence[float]) -> list[float]:
    """The shares of a tenth of the axis each."""
    if not shares:
        return []
    found = [0.0] * min(WIDTH, len(shares))
    for i, share in enumerate(shares):
        found[i * len(found) // len(shares)] += share
    return found


def _draw(shares: Sequence[float], top: float) -> str:
    return "".join(_BARS[min(7, int(share / top * 8))] if share > 0 else " " for share in shares)
