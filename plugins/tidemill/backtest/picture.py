"""A backtest as a picture: the metric of each window under each policy, and below it what each policy did when.

One SVG without scripts or fonts from elsewhere; it follows the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape

from tidemill.backtest.result import Backtest, Story, Window
from tidemill.spec.metrics import METRICS
from tidemill.spec.units import instant

_WIDTH, _LEFT, _RIGHT, _TOP, _PLOT, _LANE = 960, 150, 24, 64, 250, 34
_COLOURS = {"given": "given", "never": "never", "always": "always"}
_SHIFT = {"never": -7.0, "given": 0.0, "always": 7.0}
"""Points of one window stand beside each other, so that their intervals can be told apart."""
_TICKS = 5
_STYLE = """\
:root { color-scheme: light dark; }
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2933; }
.back { fill: #ffffff; } .title { font-size: 17px; font-weight: 600; } .soft { fill: #52606d; font-size: 12px; }
.grid { stroke: #d5dbe1; } .given { --c: #0b6e99; } .never { --c: #8a6d3b; } .always { --c: #a23b72; }
.line { fill: none; stroke: var(--c); stroke-width: 2.2; } .bar { stroke: var(--c); stroke-width: 1.4; opacity: .65; }
.dot, .mark { fill: var(--c); } .open { fill: none; stroke: var(--c); stroke-width: 1.8; }
.name { font-weight: 600; fill: var(--c); } .alarm { fill: #c2410c; }
.never .line { stroke-dasharray: 7 5; } .always .line { stroke-dasharray: 2 4; }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb; } .back { fill: #14191f; } .soft { fill: #9aa5b1; } .grid { stroke: #323f4b; }
  .given { --c: #4fb3dc; } .never { --c: #d0a85c; } .always { --c: #e07bb0; } .alarm { fill: #fb923c; }
}
"""


def picture(found: Backtest) -> str:
    """The SVG of a backtest."""
    scale = _Scale(found)
    height = _TOP + _PLOT + 52 + _LANE * len(found.stories) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-labelledby="t d" width="{_WIDTH}" height="{height}">',
        f'<title id="t">{escape(found.pipeline)}: retraining policies compared</title>',
        f'<desc id="d">{escape(_told(found))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="24" y="30">{escape(found.pipeline)}: {found.metric} of each window, '
        "by the model in force</text>",
        f'<text class="soft" x="24" y="50">{found.since} to {found.until}, 95 % intervals, '
        f"{'higher' if METRICS[found.metric].greater_is_better else 'lower'} is better</text>",
        *_grid(scale),
        *(part for story in found.stories for part in _curve(story, found.metric, scale)),
        *(part for index, story in enumerate(found.stories) for part in _lane(story, index, found, scale)),
        *_legend(height - 16),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Where an instant and a value of the metric lie on the picture."""

    def __init__(self, found: Backtest) -> None:
        ends = [instant(w.end) for story in found.stories for w in story.windows]
        ends += [instant(t.as_of) for story in found.stories for t in story.trainings]
        self.ends = sorted({instant(w.end) for w in found.stories[0].windows})
        self._first, self._last = min(ends), max(ends)
        values = [v for story in found.stories for w in story.windows for v in _values(w, found.metric)]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        room = (high - low) * 0.08 or 0.01
        self.low, self.high = low - room, high + room

    def x(self, moment: datetime) -> float:
        span = (self._last - self._first).total_seconds()
        part = (moment - self._first).total_seconds() / span if span else 0.5
        return _LEFT + 30 + part * (_WIDTH - _LEFT - _RIGHT - 60)

    def y(self, value: float) -> float:
        return _TOP + _PLOT * (self.high - value) / (self.high - self.low)


def _values(window: Window, metric: str) -> Iterator[float]:
    if metric in window.metrics:
        yield window.metrics[metric]
        yield from window.intervals.get(metric, ())


def _grid(scale: _Scale) -> Iterator[str]:
    for index in range(_TICKS):
        value = scale.low + (scale.high - scale.low) * index / (_TICKS - 1)
        y = scale.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3f}</text>'
    every = -(-len(scale.ends) // 9)
    for moment in scale.ends[::every]:
        place = f'x="{scale.x(moment):.1f}" y="{_TOP + _PLOT + 22}" text-anchor="middle"'
        yield f'<text class="soft" {place}>{moment:%Y-%m-%d}</text>'


def _curve(story: Story, metric: str, scale: _Scale) -> Iterator[str]:
    points = [(instant(w.end), w) for w in story.windows if metric in w.metrics]
    shift = _SHIFT.get(story.policy, 0.0)
    places = [(scale.x(moment) + shift, scale.y(w.metrics[metric]), w) for moment, w in points]
    yield f'<g class="{_COLOURS.get(story.policy, "given")}">'
    if places:
        yield f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)}"/>'
    for x, y, window in places:
        if metric in window.intervals:
            low, high = window.intervals[metric]
            yield f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{scale.y(low):.1f}" y2="{scale.y(high):.1f}"/>'
        said = f"{window.start} to {window.end}: version {window.version}, {window.metrics[metric]:.4f}"
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.6"><title>{escape(said)}</title></circle>'
    yield "</g>"


def _lane(story: Story, index: int, found: Backtest, scale: _Scale) -> Iterator[str]:
    y = _TOP + _PLOT + 52 + index * _LANE
    mean = story.mean(found.metric)
    summary = f"{story.trained} trained" + (f", mean {mean.value:.4f}" if mean else "")
    yield f'<g class="{_COLOURS.get(story.policy, "given")}">'
    yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    yield f'<text class="name" x="24" y="{y - 1}">{escape(_short(story))}</text>'
    yield f'<text class="soft" x="24" y="{y + 14}">{escape(summary)}</text>'
    for window in story.windows:
        if window.fired:
            x = scale.x(instant(window.end))
            said = escape(f"alarm: {' and '.join(window.fired)}")
            yield f'<path class="alarm" d="M{x - 5:.1f},{y - 5} h10 l-5,-9 z"><title>{said}</title></path>'
    for training in story.trainings:
        if training.outcome == "superseded":  # by another at the same instant, which has a sign of its own
            continue
        x = scale.x(instant(training.as_of))
        said = escape(f"{training.as_of}: {training.outcome}: {'; '.join(training.why)}")
        shape = {
            "promoted": f'<circle class="mark" cx="{x:.1f}" cy="{y}" r="5.5">',
            "refused": f'<circle class="open" cx="{x:.1f}" cy="{y}" r="5.5">',
        }.get(training.outcome, f'<path class="open" d="M{x - 4:.1f},{y - 4} l8,8 m0,-8 l-8,8">')
        tag = shape[1 : shape.index(" ")]
        yield f"{shape}<title>{said}</title></{tag}>"
    yield "</g>"


def _short(story: Story) -> str:
    return {"given": "this policy", "never": "never", "always": "always"}.get(story.policy, story.policy)


def _legend(y: float) -> Iterator[str]:
    signs = (
        ('<path class="alarm" d="M{x},{y} h10 l-5,-9 z"/>', "alarm"),
        ('<circle class="mark" cx="{c}" cy="{m}" r="5"/>', "trained and promoted"),
        ('<circle class="open" cx="{c}" cy="{m}" r="5"/>', "trained and refused"),
        ('<path class="open" d="M{x},{t} l8,8 m0,-8 l-8,8"/>', "held back, or failed"),
    )
    x = float(_LEFT)
    yield '<g class="given">'
    for sign, said in signs:
        yield sign.format(x=x, y=y, c=x + 5, m=y - 4, t=y - 8)
        yield f'<text class="soft" x="{x + 16}" y="{y}">{said}</text>'
        x += 40 + 6.6 * len(said)
    yield "</g>"


def _told(found: Backtest) -> str:
    """What the picture shows, for those who do not see it."""
    said = []
    for story in found.stories:
        mean = story.mean(found.metric)
        told = f"{found.metric} {mean.value:.4f} on average" if mean else f"no {found.metric}"
        said.append(f"{story.title}: {story.trained} trainings, {story.count('promoted')} promoted, {told}")
    return ". ".join(said) + "."
