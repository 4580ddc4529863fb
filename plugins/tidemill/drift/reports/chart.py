"""A column's picture as SVG: the reference as grey areas, the current rows drawn over it.

The two are told apart by form and by lightness, so that colours may be missing (paper, colour blindness). Colours are
classes, which the page's style gives for light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from tidemill.drift.percent import percent
from tidemill.drift.reports.numbers import log_ticks, short, ticks, time
from tidemill.drift.reports.picture import Bar, Categories, Histogram, Picture

WIDTH, HEIGHT = 460, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 12, 26
_ASIDE = 42
"""Width of the place of one bar beside the axis."""
_ROW, _LABEL = 19, 150
_LABEL_CHARS = 24


def draw(picture: Picture, name: str) -> str:
    """The picture as an SVG element; its title and description say in words what it shows."""
    body, height = _histogram(picture) if isinstance(picture, Histogram) else _categories(picture)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_attribute(_words(picture, name))}">'
        f"{''.join(body)}</svg>"
    )


def _words(picture: Picture, name: str) -> str:
    """The picture for those who do not see it: the bars that differ most."""
    bars = picture.bars if isinstance(picture, Categories) else (*_bins(picture), *picture.aside)
    most = sorted((bar for bar in bars if abs(bar.difference) > 1e-3), key=lambda bar: -abs(bar.difference))[:3]
    told = "; ".join(f"{bar.label}: {percent(bar.reference)}, now {percent(bar.current)}" for bar in most)
    return f"{name}: reference and current rows. {f'Largest differences: {told}' if told else 'No difference to see'}"


def _bins(histogram: Histogram) -> Iterator[Bar]:
    edges, tell = histogram.edges, _teller(histogram)
    for i, (before, now) in enumerate(zip(histogram.reference, histogram.current, strict=True)):
        yield Bar(f"{tell(edges[i])} to {tell(edges[i + 1])}", before, now)


def _teller(histogram: Histogram) -> Callable[[float], str]:
    if not histogram.times:
        return short
    width = histogram.edges[-1] - histogram.edges[0] if histogram.edges else 0.0
    return lambda seconds: time(seconds, width)


def _histogram(histogram: Histogram) -> tuple[list[str], int]:
    top = max((*histogram.reference, *histogram.current, *_both(histogram.aside)), default=0.0) or 1.0
    bottom, aside = HEIGHT - _BOTTOM, len(histogram.aside) * _ASIDE
    right = WIDTH - _RIGHT - aside - (10 if aside else 0)

    def y(share: float) -> float:
        return round(bottom - (bottom - _TOP) * share / top, 1)

    out = [_grid(top, y, right if not aside else WIDTH - _RIGHT)]
    if histogram.edges:
        out.append(_areas(histogram, y, right))
        out.append(_axis(histogram, right, bottom))
    for i, bar in enumerate(histogram.aside):
        left = WIDTH - _RIGHT - aside + i * _ASIDE
        out.append(_upright(bar, left, y, bottom))
    out.append(f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>')
    return out, HEIGHT


def _grid(top: float, y: Callable[[float], float], right: float) -> str:
    lines = []
    for share in ticks(0, top, 4):
        at = y(share)
        lines.append(f'<path class="grid" d="M{_LEFT} {at}H{right}"/>')
        lines.append(f'<text class="tick end" x="{_LEFT - 5}" y="{at + 3.5}">{percent(share)}</text>')
    return "".join(lines)


def _areas(histogram: Histogram, y: Callable[[float], float], right: float) -> str:
    places = _places(histogram, right)
    steps = [
        f"M{places[i]} {y(0)}V{y(share)}H{places[i + 1]}V{y(0)}z"
        for i, share in enumerate(histogram.reference)
        if share > 0
    ]
    line = [f"M{places[0]} {y(0)}"]
    for i, share in enumerate(histogram.current):
        line.append(f"V{y(share)}H{places[i + 1]}")
    path = "".join(line) + f"V{y(0)}"
    return f'<path class="ref" d="{"".join(steps)}"/><path class="cur-area" d="{path}z"/><path class="cur" d="{path}"/>'


def _places(histogram: Histogram, right: float) -> list[float]:
    """Where the edges lie: bins are equally wide on the axis, be it logarithmic or not."""
    count = len(histogram.edges) - 1
    return [round(_LEFT + (right - _LEFT) * i / count, 1) for i in range(count + 1)]


def _axis(histogram: Histogram, right: float, bottom: float) -> str:
    low, high, tell = histogram.edges[0], histogram.edges[-1], _teller(histogram)
    scale: Callable[[float], float] = math.log10 if histogram.log else float
    marks = []
    for value in log_ticks(low, high) if histogram.log else ticks(low, high):
        if not high > low:
            continue
        x = round(_LEFT + (right - _LEFT) * (scale(value) - scale(low)) / (scale(high) - scale(low)), 1)
        if _LEFT - 1 <= x <= right + 1:
            where = "end" if x > right - 12 and not histogram.aside else "middle"
            marks.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
            marks.append(f'<text class="tick {where}" x="{x}" y="{bottom + 16}">{_text(tell(value))}</text>')
    return "".join(marks)


def _upright(bar: Bar, left: float, y: Callable[[float], float], bottom: float) -> str:
    middle, before, now = left + _ASIDE / 2, y(bar.reference), y(bar.current)
    return (
        f'<path class="ref" d="M{middle - 9} {bottom}V{before}h18V{bottom}z"/>'
        f'<path class="cur-bar" d="M{middle - 4} {bottom}V{now}h8V{bottom}z"/>'
        f'<text class="tick middle special" x="{middle}" y="{bottom + 16}">{_text(bar.label)}</text>'
    )


def _categories(categories: Categories) -> tuple[list[str], int]:
    bars = categories.bars
    top = max(_both(bars), default=0.0) or 1.0
    left, right = _LABEL + 8, WIDTH - 104
    height = _TOP + len(bars) * _ROW + 6

    def x(share: float) -> float:
        return round((right - left) * share / top, 1)

    out = []
    for i, bar in enumerate(bars):
        at = _TOP + i * _ROW
        kind = "label special" if bar.special else "label"
        figures = f"{percent(bar.reference)} → {percent(bar.current)}"
        # Right-to-left names end at the axis, too: the text's own direction orders its letters, not its place.
        out.append(
            f'<text class="{kind} end" x="{_LABEL}" y="{at + 11}">{_text(_cut(bar.label))}'
            f"<title>{_text(bar.label)}</title></text>"
            f'<path class="ref" d="M{left} {at}h{x(bar.reference)}v14H{left}z"/>'
            f'<path class="cur-bar" d="M{left} {at + 4}h{x(bar.current)}v6H{left}z"/>'
            f'<text class="tick" x="{left + max(x(bar.reference), x(bar.current)) + 6}" y="{at + 11}">{figures}</text>'
        )
    out.append(f'<path class="axis" d="M{left} {_TOP - 4}V{height - 6}"/>')
    return out, height


def _both(bars: Sequence[Bar]) -> list[float]:
    return [share for bar in bars for share in (bar.reference, bar.current)]


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL_CHARS else label[: _LABEL_CHARS - 1] + "…"


def _text(text: str) -> str:
    """Text for markup: escaped, and what a page cannot hold made visible; its own direction ends with it."""
    from tidemill.drift.reports.text import isolated

    return isolated(text)


def _attribute(text: str) -> str:
    from tidemill.spec.errors import printable

    return escape(printable(text), quote=True)
