"""The gate: which conditions of ``promote.when`` an evaluation meets. Pure functions, no side effects.

Every condition gives a sentence with its numbers, met or not, so that a promotion can be explained as well
as a refusal. What cannot be judged is never met.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tidemill.records import Evaluation, Slice
from tidemill.spec.metrics import METRICS
from tidemill.spec.models import Gate, WorstSlice

_LISTED = 50
"""So many unjudged slices are named; the rest are counted. A column may have thousands of values."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says: sentences for the conditions not met, for those met, and for what was not judged."""

    refusals: tuple[str, ...]
    passes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every condition is met, and there is at least one."""
        return not self.refusals and bool(self.passes)


_Kind = Literal["refusal", "pass", "note"]


class _Line(NamedTuple):
    kind: _Kind
    text: str


def judge(when: Mapping[str, Gate], evaluation: Evaluation) -> Verdict:
    """Judge an evaluation by the conditions of ``promote.when`` (metric → gate); all must hold.

    A ``gain`` is positive for an improvement, whatever the metric's direction. A champion that is not
    comparable refuses where a ``gain`` is asked for, and is a note elsewhere.
    """
    lines = [line for metric, gate in when.items() for line in _metric(metric, gate, evaluation)]
    if evaluation.not_comparable and not any(gate.gain for gate in when.values()):
        lines.append(_Line("note", f"{_champion(evaluation)} is not comparable: {evaluation.not_comparable}"))
    if all(line.kind == "note" for line in lines):
        lines.append(_Line("refusal", "promote.when asks for nothing: at least one condition is needed"))
    return Verdict(_of(lines, "refusal"), _of(lines, "pass"), _of(lines, "note"))


def _of(lines: list[_Line], kind: _Kind) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.text for line in lines if line.kind == kind))


def _metric(metric: str, gate: Gate, evaluation: Evaluation) -> Iterator[_Line]:
    value = evaluation.challenger.metrics.get(metric)
    if value is None or not math.isfinite(value):
        missing = "was not computed" if metric not in evaluation.challenger.metrics else "does not exist (NaN)"
        yield _Line("refusal", f"{metric} {missing} on the {evaluation.rows:,} rows of the holdout")
    else:
        yield from _bounds(metric, value, gate.at_least, gate.at_most)
        if gate.gain is not None:
            yield _gain(metric, value, gate, evaluation)
    if gate.worst_slice is not None:
        yield from _worst_slice(metric, gate.worst_slice, evaluation)


def _bounds(what: str, value: float, at_least: float | None, at_most: float | None) -> Iterator[_Line]:
    for bound, met, yes, no in (
        (at_least, at_least is not None and value >= at_least, "at least", "below the"),
        (at_most, at_most is not None and value <= at_most, "at most", "above the"),
    ):
        if bound is None:
            continue
        shown, limit = _pair(value, bound)
        if met:
            yield _Line("pass", f"{what} is {shown}, {yes} {limit} as asked for")
        else:
            yield _Line("refusal", f"{what} is {shown}, {no} {limit} asked for ({yes})")


def _gain(metric: str, value: float, gate: Gate, evaluation: Evaluation) -> _Line:
    assert gate.gain is not None
    if evaluation.champion_version is None:
        absolute = gate.at_least is not None or gate.at_most is not None
        if gate.gain.without_champion == "pass" and absolute:
            return _Line("pass", f"{metric}: no_champion, so its gain passes (without_champion: pass)")
        why = "an absolute bound is needed beside it" if not absolute else "without_champion is refuse"
        return _Line("refusal", f"{metric}: no_champion to gain over, and {why}")
    name = _champion(evaluation)
    if evaluation.not_comparable or evaluation.champion is None:
        why = evaluation.not_comparable or "it was not evaluated"
        return _Line("refusal", f"{metric}: {name} is not comparable: {why}")
    old = evaluation.champion.metrics.get(metric)
    if old is None or not math.isfinite(old):
        return _Line("refusal", f"{metric}: {name} has none on the same rows, so there is no gain to speak of")
    better = metric not in METRICS or METRICS[metric].greater_is_better
    gain = value - old if better else old - value
    shown, limit = _pair(gain, gate.gain.at_least, sign=True)
    new_text, old_text = _pair(value, old)
    against = f"({new_text} against {old_text} of {name})"
    if gain >= gate.gain.at_least:
        return _Line("pass", f"{metric} gains {shown} {against}, at least {limit} as asked for")
    return _Line("refusal", f"{metric} gains {shown} {against}, below the {limit} asked for")


def _worst_slice(metric: str, asked: WorstSlice, evaluation: Evaluation) -> Iterator[_Line]:
    judged: list[tuple[float, Slice]] = []
    unjudged: list[str] = []
    for part in evaluation.challenger.slices:
        name = f"{part.column}={part.value}"
        value = part.metrics.get(metric)
        if part.rows < asked.min_rows:
            unjudged.append(f"{name} ({part.rows:,} rows, fewer than {asked.min_rows:,})")
        elif part.unjudged is not None:
            unjudged.append(f"{name} ({part.rows:,} rows, {part.unjudged})")
        elif value is None or not math.isfinite(value):
            yield _Line("refusal", f"{metric} does not exist (NaN) on slice {name} ({part.rows:,} rows)")
        else:
            judged.append((value, part))
    if unjudged:
        yield _Line("note", f"{metric}: slices not judged: {_listed(unjudged)}")
    if not judged:
        why = "there are no slices" if not evaluation.challenger.slices else f"not judged: {_listed(unjudged)}"
        yield _Line("refusal", f"{metric}: no slice could be judged, so the worst is unknown ({why})")
        return
    better = metric not in METRICS or METRICS[metric].greater_is_better
    value, part = (min if better else max)(judged, key=lambda pair: pair[0])
    what = f"{metric} of the worst of {len(judged)} slices, {part.column}={part.value} ({part.rows:,} rows),"
    yield from _bounds(what, value, asked.at_least, asked.at_most)


def _listed(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest:,} more" if rest > 0 else "")


def _champion(evaluation: Evaluation) -> str:
    return f"champion version {evaluation.champion_version}"


def _pair(a: float, b: float, *, sign: bool = False) -> tuple[str, str]:
    """Two numbers as text, with as many digits as it takes to see that they differ."""
    plus = "+" if sign else ""
    for digits in (6, 9, 12):
        texts = f"{a:{plus}.{digits}g}", f"{b:{plus}.{digits}g}"
        if texts[0] != texts[1] or a == b:
            return texts
    return repr(a), repr(b)
