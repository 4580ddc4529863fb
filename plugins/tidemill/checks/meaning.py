"""What can be said about a spec without leaving it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidemill.plan.schedule import PRESETS, explain_cron
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.metrics import METRICS, names
from tidemill.spec.models import Cron, Spec

Check = Callable[[Spec, Sources], Iterator[SpecError]]
_MAX_TAG = 100
"""Airflow keeps a tag in a column of this many characters."""


def check(spec: Spec, sources: Sources) -> list[SpecError]:
    """Every mistake of meaning. A section that could not be read is ``None``; what needs it is not checked."""
    return [error for one in _CHECKS for error in one(spec, sources)]


def _schedules(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    yield from _schedule(spec.schedule, ("schedule",), sources)
    if spec.monitor is not None:
        yield from _schedule(spec.monitor.schedule, ("monitor", "schedule"), sources)
        if spec.monitor.schedule is None and spec.monitor.window is None:
            yield sources.error(
                ("monitor",),
                'without a "schedule" there is no interval to judge',
                "add `schedule: monthly`, or `window: 1 month` for runs by hand",
                key=True,
            )
    if spec.start is not None and spec.end is not None and spec.end < spec.start:
        yield sources.error(("end",), "end is before start", "both are inclusive bounds of as_of")
    if spec.catchup:
        scheduled = spec.schedule is not None or (spec.monitor is not None and spec.monitor.schedule is not None)
        if not scheduled:
            yield sources.error(("catchup",), "there is no schedule to catch up with", "add `schedule:`")
        elif spec.start is None:
            yield sources.error(("catchup",), "catching up needs to know from when", "add `start:`")


def _schedule(written: str | Cron | None, path: Path, sources: Sources) -> Iterator[SpecError]:
    if written is None or (isinstance(written, str) and written in PRESETS):
        return
    if isinstance(written, Cron):
        try:
            ZoneInfo(written.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield sources.error(
                (*path, "timezone"),
                f'unknown time zone "{written.timezone}"',
                "an IANA name, e.g. Europe/Berlin",
            )
        path, written = (*path, "cron"), written.cron
    if " " in written.strip():
        problem = explain_cron(written)
        if problem:
            yield sources.error(path, problem, 'e.g. "0 3 * * 1" (Mondays at three)')
        return
    near = suggest(written.lstrip("@"), PRESETS)
    hint = f'did you mean "{near}"?' if near else f"presets: {', '.join(PRESETS)}; or a cron expression"
    yield sources.error(path, f'unknown schedule "{written}"', hint)


def _evaluate(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    evaluate = spec.evaluate
    if evaluate is None:
        return
    yield from _repeated(evaluate.metrics, ("evaluate", "metrics"), sources)
    yield from _repeated(evaluate.slices, ("evaluate", "slices"), sources)
    for index, metric in enumerate(evaluate.metrics):
        yield from _metric(metric, ("evaluate", "metrics", index), spec, sources, key=False)
    for index, column in enumerate(evaluate.slices):
        if column == evaluate.target:
            yield sources.error(("evaluate", "slices", index), "a slice by the target says nothing about the model")
    data = spec.data
    if data is not None:
        yield from _repeated(data.key, ("data", "key"), sources)
        if evaluate.target in data.key:
            yield sources.error(("evaluate", "target"), "the target cannot be part of the key (data.key)")
        if evaluate.target == data.window.column:
            yield sources.error(("evaluate", "target"), "the target cannot be the time column (data.window.column)")


def _metric(metric: str, path: Path, spec: Spec, sources: Sources, *, key: bool) -> Iterator[SpecError]:
    """A metric's name must be one of the task's."""
    if spec.evaluate is None:
        return
    known = names(spec.evaluate.task)
    if metric in known:
        return
    shown = path[:-1]
    if metric in METRICS:
        task = METRICS[metric].task
        message, hint = (
            f'"{metric}" is a metric of {task}, the task is {spec.evaluate.task}',
            ", ".join(known),
        )
    else:
        near = suggest(metric, known)
        message = f'unknown metric "{metric}"'
        hint = f'did you mean "{near}"?' if near else f"metrics of {spec.evaluate.task}: {', '.join(known)}"
    yield sources.error(path, message, hint, key=key, shown=shown)


def _gates(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    if spec.promote is None:
        return
    for metric, gate in spec.promote.when.items():
        path: Path = ("promote", "when", metric)
        unknown = list(_metric(metric, path, spec, sources, key=True))
        yield from unknown
        if not unknown and spec.evaluate is not None and metric not in spec.evaluate.metrics:
            yield sources.error(path, f'"{metric}" is not computed', "add it to evaluate.metrics", key=True)
        yield from _bounds(gate, path, sources)
        conditions = (gate.at_least, gate.at_most, gate.gain, gate.worst_slice)
        if all(condition is None for condition in conditions):
            yield sources.error(path, "no condition", "add at_least, at_most, gain or worst_slice", key=True)
        no_bound = gate.at_least is None and gate.at_most is None
        if gate.gain is not None and gate.gain.without_champion == "pass" and no_bound:
            yield sources.error(
                (*path, "gain", "without_champion"),
                "the first model would pass without any bound",
                f"add `at_least:` or `at_most:` to promote.when.{metric}",
            )
        if gate.worst_slice is not None:
            yield from _worst_slice(metric, gate.worst_slice, (*path, "worst_slice"), spec, sources)


def _worst_slice(metric: str, worst: Any, path: Path, spec: Spec, sources: Sources) -> Iterator[SpecError]:
    if spec.evaluate is not None and not spec.evaluate.slices:
        yield sources.error(path, "there are no slices", "add `slices: [column]` to evaluate", key=True)
    if metric not in METRICS:
        return
    right, wrong = ("at_least", "at_most") if METRICS[metric].greater_is_better else ("at_most", "at_least")
    if getattr(worst, wrong) is not None:
        better = "greater" if METRICS[metric].greater_is_better else "smaller"
        yield sources.error(
            (*path, wrong),
            f"of {metric} the {better} is the better: its worst slice is bound by {right}",
            key=True,
        )
    elif getattr(worst, right) is None:
        yield sources.error(path, "no bound", f"add `{right}:`", key=True)


def _bounds(bound: Any, path: Path, sources: Sources) -> Iterator[SpecError]:
    if bound.at_least is not None and bound.at_most is not None and bound.at_most < bound.at_least:
        yield sources.error((*path, "at_most"), f"nothing is at least {bound.at_least:g} and at most {bound.at_most:g}")


def _monitor(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    monitor = spec.monitor
    if monitor is None:
        return
    if monitor.drift is None and monitor.performance is None:
        yield sources.error(("monitor",), "nothing to watch", "add `drift:` or `performance:`", key=True)
    for metric, bound in (monitor.performance or {}).items():
        path: Path = ("monitor", "performance", metric)
        yield from _metric(metric, path, spec, sources, key=True)
        yield from _bounds(bound, path, sources)
        if bound.at_least is None and bound.at_most is None:
            yield sources.error(path, "no bound", "add at_least or at_most", key=True)
    columns = monitor.drift.columns if monitor.drift else None
    path = ("monitor", "drift", "columns")
    yield from _repeated(columns or [], path, sources)
    for index, column in enumerate(columns or []):
        if spec.evaluate is not None and column == spec.evaluate.target:
            yield sources.error((*path, index), "drift is measured on what the model sees, not on the target")
        if spec.data is not None and column in (*spec.data.key, spec.data.window.column):
            yield sources.error((*path, index), "keys and times always change; they are not measured for drift")


def _retrain(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    retrain = spec.retrain
    if retrain is None:
        return
    yield from _repeated(retrain.triggers, ("retrain", "triggers"), sources)
    for index, trigger in enumerate(retrain.triggers):
        watched = spec.monitor is not None and getattr(spec.monitor, trigger) is not None
        if not watched:
            yield sources.error(
                ("retrain", "triggers", index), f"nothing watches {trigger}", f"add `{trigger}:` to monitor"
            )
    if not retrain.triggers and retrain.cooldown is not None:
        yield sources.error(
            ("retrain", "cooldown"),
            "a cooldown holds back triggered trainings, and there are no triggers",
            key=True,
        )
    if retrain.at_most is None and retrain.count_scheduled:
        yield sources.error(("retrain", "count_scheduled"), "there is no `at_most` to count towards", key=True)
    if not retrain.triggers and retrain.at_most is not None and not retrain.count_scheduled:
        yield sources.error(
            ("retrain", "at_most"),
            "there are no triggers, and scheduled runs are not counted",
            "add `triggers:`, or `count_scheduled: true`",
            key=True,
        )


def _labels(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """Tags and links, as Airflow takes them."""
    for index, tag in enumerate(spec.tags or []):
        if not tag.strip() or len(tag) > _MAX_TAG:
            yield sources.error(("tags", index), f"a tag has 1 to {_MAX_TAG} characters")
    for name, address in (spec.links or {}).items():
        if not address.startswith(("https://", "http://", "mailto:")):
            yield sources.error(("links", name), f'not an address: "{address}"', "https://… or mailto:…")


def _repeated(values: Sequence[str], path: Path, sources: Sources) -> Iterator[SpecError]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield sources.error((*path, index), f'"{value}" stands here twice')
        seen.add(value)


_CHECKS: tuple[Check, ...] = (_schedules, _evaluate, _gates, _monitor, _retrain, _labels)
