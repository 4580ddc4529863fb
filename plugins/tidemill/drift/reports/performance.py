"""The part of a monitor's page that says how good the model was, and how good it probably is where nobody knows yet.

What was measured and what is estimated stand in tables of their own, and are drawn differently: a filled mark with a
whole line is measured, a hollow one with a broken line is an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tidemill.drift.percent import percent
from tidemill.drift.reports.numbers import short
from tidemill.drift.reports.text import shown
from tidemill.records import Estimate, Interval, LabelReport, MonitorReport, Performance
from tidemill.spec.metrics import METRICS
from tidemill.spec.monitoring import Bound
from tidemill.spec.units import format_instant

State = Literal["alarm", "beyond, replaced", "beyond, may be chance", "holds", "no bound", "not judged"]

_TONE: Mapping[State, str] = {
    "alarm": "bad",
    "beyond, replaced": "warn",
    "beyond, may be chance": "warn",
    "holds": "good",
    "no bound": "mute",
    "not judged": "mute",
}
_SIGN: Mapping[State, str] = {
    "alarm": "▲",
    "beyond, replaced": "●",
    "beyond, may be chance": "●",
    "holds": "✓",
    "no bound": "–",
    "not judged": "–",
}
_WIDTH, _EDGE = 180, 10


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a monitor found besides drift. ``bounds``: those that performance is judged by; ``why``: what it said."""

    report: MonitorReport
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    why: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.report.performance or self.report.estimate or self.why)


def headline(watched: Watched) -> str:
    """The verdict in a few words; empty if there is nothing to say."""
    if not watched.told:
        return ""
    if watched.report.performance is None:
        return "Performance estimated, not measured" if watched.report.estimate else "Performance not judged"
    states = set(_states(watched).values())
    if "alarm" in states:
        return "Performance alarm"
    if states & {"beyond, replaced", "beyond, may be chance"}:
        return "Performance beyond its bound, no alarm"
    return "Performance holds" if "holds" in states else "Performance measured"


def section(watched: Watched) -> Iterator[str]:
    """Lines of HTML: the verdict, what was measured, and what is estimated."""
    if not watched.told:
        return
    report, states = watched.report, _states(watched)
    tones = [_TONE[state] for state in states.values()]
    tone = next((tone for tone in ("bad", "warn", "good") if tone in tones), "mute")
    yield '<section aria-labelledby="performance">\n<h2 id="performance">Performance</h2>'
    yield f'<div class="verdict {tone}">\n<h3>{headline(watched)}</h3>'
    yield from (f'<p class="why">{shown(_sentence(text))}</p>' for text in _told(watched))
    if report.performance is not None:
        yield from _figures(report.performance, report)
    yield "</div>"
    if report.performance is not None:
        yield from _measured(report.performance, watched, states)
    if report.estimate is not None:
        yield from _estimated(report.estimate, watched)
    yield "</section>"


def _told(watched: Watched) -> Iterator[str]:
    """What was said and is no repetition of what the tables hold."""
    held = ("estimated without labels", "performance from ") if watched.report.performance else ("estimated without",)
    return (text for text in watched.why if not text.startswith(held))


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a metric's name."""
    return text if text.partition(" ")[0] in METRICS else text[:1].upper() + text[1:]


def _states(watched: Watched) -> dict[str, State]:
    performance = watched.report.performance
    if performance is None:
        return {}
    ends = _ends(performance.intervals)
    return {name: _state(watched, name, performance.metrics[name], ends.get(name)) for name in performance.metrics}


def _state(watched: Watched, metric: str, value: float | None, interval: Interval | None) -> State:
    bound = watched.bounds.get(metric)
    if value is None or not math.isfinite(value):
        return "not judged"
    if bound is None or not bound.says:
        return "no bound"
    if bound.met(value):
        return "holds"
    if interval is None or not bound.beyond(interval.low, interval.high):
        return "beyond, may be chance"
    return "alarm" if "performance" in watched.report.fired else "beyond, replaced"


def _ends(intervals: Iterable[Interval]) -> dict[str, Interval]:
    return {interval.metric: interval for interval in intervals}


def _figures(performance: Performance, report: MonitorReport) -> Iterator[str]:
    yield '<dl class="figures">'
    for term, value in _facts(performance, report.labels, report.labelled):
        yield f"<div><dt>{term}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _facts(performance: Performance, labels: LabelReport | None, labelled: int) -> Iterator[tuple[str, str]]:
    yield "Measured on", _span(performance.start, performance.end)
    whose = {"logged": ", as it predicted then", "computed": ", scored now"}.get(performance.predictions or "", "")
    yield "Whose predictions", f"version {shown(performance.version)}{whose}"
    if performance.others:
        rows = ", ".join(f"{count:,} by version {shown(version)}" for version, count in performance.others.items())
        yield "Left out, as others scored them", rows
    if labels is None:
        yield "Rows with a label", f"{labelled:,}"
        return
    share = f" ({percent(labels.labelled / labels.rows)})" if labels.rows else ""
    yield "Rows with a label", f"{labels.labelled:,} of {labels.rows:,}{share}"
    for term, count in (("Keys with contradicting labels", labels.contradicting), ("Ambiguous keys", labels.ambiguous)):
        if count:
            yield term, f"{count:,}"


def _span(start: datetime | None, end: datetime | None) -> str:
    return f"{format_instant(start)} – {format_instant(end)}" if start is not None and end is not None else "–"


def _measured(performance: Performance, watched: Watched, states: Mapping[str, State]) -> Iterator[str]:
    previous, ends = watched.report.previous, _ends(performance.intervals)
    before = f'<th scope="col">Version {shown(previous.version)} before it</th>' if previous is not None else ""
    yield '<div class="scroll" role="region" aria-labelledby="performance" tabindex="0">\n<table>'
    old = ", the square is the version before" if previous is not None else ""
    yield (
        f"<caption>Measured. The line is the confidence interval, the mark is the bound{old}: the alarm is given when "
        "the whole interval lies beyond the bound.</caption>"
    )
    yield (
        '<thead><tr><th scope="col" class="left">Metric</th><th scope="col" class="left">Verdict</th>'
        '<th scope="col">Value</th><th scope="col">Interval</th><th scope="col" class="left">Against the bound</th>'
        f'<th scope="col">Bound</th>{before}</tr></thead>\n<tbody>'
    )
    for name in _in_order(performance.metrics):
        state, value, interval = states[name], performance.metrics[name], ends.get(name)
        was = previous.metrics.get(name) if previous is not None else None
        pill = f'<span class="pill {_TONE[state]}"><span aria-hidden="true">{_SIGN[state]} </span>{state}</span>'
        yield (
            f'<tr><th scope="row">{shown(name)}</th><td class="left">{pill}</td><td class="by">{_number(value)}</td>'
            f'<td>{_interval(interval)}</td><td class="left">{_line(value, interval, watched.bounds.get(name), was)}'
            f"</td><td>{_bound(watched.bounds.get(name))}</td>"
            f"{f'<td>{_number(was)}</td>' if previous is not None else ''}</tr>"
        )
    yield "</tbody>\n</table>\n</div>"


def _estimated(estimate: Estimate, watched: Watched) -> Iterator[str]:
    ends = _ends(estimate.intervals)
    yield (
        '<div class="estimate">\n<h3><span class="pill">estimate</span> No measurement: what version '
        f"{shown(estimate.version)} probably does from {_span(estimate.start, estimate.end)}</h3>"
    )
    yield (
        f'<p class="note">From the {estimate.rows:,} scores alone, without their labels, by what such scores came to '
        "on the holdout. It holds as long as the scores mean what they meant there, is wrong when what the rows mean "
        "has changed, and gives no alarm.</p>"
    )
    yield '<div class="scroll" role="region" aria-label="Estimated metrics" tabindex="0">\n<table>'
    yield (
        '<thead><tr><th scope="col" class="left">Metric</th><th scope="col">About</th><th scope="col">Stated error'
        '</th><th scope="col" class="left">Against the bound</th><th scope="col">Bound</th></tr></thead>\n<tbody>'
    )
    for name in _in_order(estimate.metrics):
        value, interval, bound = estimate.metrics[name], ends.get(name), watched.bounds.get(name)
        yield (
            f'<tr><th scope="row">{shown(name)} <span class="aside">estimated</span></th><td>{_number(value)}</td>'
            f'<td>{_interval(interval)}</td><td class="left">{_line(value, interval, bound, None, guess=True)}</td>'
            f"<td>{_bound(bound)}</td></tr>"
        )
    yield "</tbody>\n</table>\n</div>\n</div>"


def _in_order(metrics: Iterable[str]) -> list[str]:
    known = list(METRICS)
    return sorted(metrics, key=lambda name: (known.index(name) if name in known else len(known), name))


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}".replace("-", "−") if abs(value) < 100 else short(value)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{_number(interval.low)} to {_number(interval.high)} ({100 * interval.confidence:.4g} %)"


def _bound(bound: Bound | None) -> str:
    if bound is None or not bound.says:
        return "–"
    sides = (("at least", bound.at_least), ("at most", bound.at_most))
    return ", ".join(f"{name} {limit:g}" for name, limit in sides if limit is not None)


def _line(
    value: float | None, interval: Interval | None, bound: Bound | None, before: float | None, *, guess: bool = False
) -> str:
    """The interval and the bound on one line, each row to its own scale; what the table says in words beside it."""
    limits = [limit for limit in (bound.at_least, bound.at_most) if limit is not None] if bound is not None else []
    places = [p for p in (value, before, *limits) if p is not None and math.isfinite(p)]
    if interval is not None:
        places += [interval.low, interval.high]
    if value is None or not math.isfinite(value) or not max(places) > min(places):
        return ""
    low, scale = min(places), (_WIDTH - 2 * _EDGE) / (max(places) - min(places))

    def x(place: float) -> float:
        return round(_EDGE + (place - low) * scale, 1)

    kind = " guess" if guess else ""
    drawn = [f'<path class="mark" d="M{x(limit)} 2V18"/>' for limit in limits]
    if interval is not None:
        drawn.append(f'<path class="span{kind}" d="M{x(interval.low)} 10H{x(interval.high)}"/>')
    if before is not None and math.isfinite(before):
        drawn.append(f'<rect class="before" x="{round(x(before) - 4, 1)}" y="6" width="8" height="8"/>')
    drawn.append(f'<circle class="dot{kind}" cx="{x(value)}" cy="10" r="4"/>')
    return f'<svg class="line" viewBox="0 0 {_WIDTH} 20" aria-hidden="true">{"".join(drawn)}</svg>'
