"""What can be said about a spec's stages and names without leaving it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from tidemill.checks import timing
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.metrics import METRICS, names
from tidemill.spec.models import Owner, Spec, Workflow
from tidemill.spec.section import keys_of

Check = Callable[[Spec, Sources], Iterator[SpecError]]
_MAX_TAG = 100
"""Airflow keeps a tag in a column of this many characters."""
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
"""What MLflow takes for a version instead of an alias."""


def check(spec: Workflow, sources: Sources) -> list[SpecError]:
    """Every mistake of meaning. A section that could not be read is ``None``; what needs it is not checked."""
    found = [*timing.check(spec, sources), *_names(spec, sources)]
    if isinstance(spec, Spec):
        found += [error for one in _CHECKS for error in one(spec, sources)]
    return found


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
            yield sources.error(
                ("evaluate", "slices", index), "a slice by the target says nothing about the model", "remove it"
            )
    data = spec.data
    if data is not None:
        yield from _repeated(data.key, ("data", "key"), sources)
        if evaluate.target in data.key:
            yield sources.error(("evaluate", "target"), "the target cannot be part of data.key", "name another column")
        if evaluate.target == data.window.column:
            yield sources.error(
                ("evaluate", "target"), "the target cannot be data.window.column", "name another column"
            )


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
            f"metrics of {spec.evaluate.task}: {', '.join(known)}",
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
        if not any(sources.wrote(*path, condition) for condition in keys_of(type(gate))):
            yield sources.error(path, "no condition", "add at_least, at_most, gain or worst_slice", key=True)
        no_bound = not sources.wrote(*path, "at_least") and not sources.wrote(*path, "at_most")
        if gate.gain is not None and gate.gain.without_champion == "pass" and no_bound:
            yield sources.error(
                (*path, "gain", "without_champion"),
                "the first model would pass without any bound",
                f"add `at_least:` or `at_most:` to promote.when.{metric}",
            )
        if gate.worst_slice is not None:
            yield from _worst_slice(metric, gate.worst_slice, (*path, "worst_slice"), spec, sources)


def _worst_slice(metric: str, worst: Any, path: Path, spec: Spec, sources: Sources) -> Iterator[SpecError]:
    if spec.evaluate is not None and not sources.merged["evaluate"].get("slices"):
        yield sources.error(path, "there are no slices", "add `slices: [column]` to evaluate", key=True)
    if metric not in METRICS:
        return
    right, wrong = ("at_least", "at_most") if METRICS[metric].greater_is_better else ("at_most", "at_least")
    if getattr(worst, wrong) is not None:
        better, side = ("greater", "below") if METRICS[metric].greater_is_better else ("smaller", "above")
        yield sources.error(
            (*path, wrong),
            f"the {better} {metric}, the better: its worst slice is bound from {side}",
            f"write `{right}:`",
            key=True,
        )
    elif not sources.wrote(*path, right):
        yield sources.error(path, "no bound", f"add `{right}:`", key=True)


def _bounds(bound: Any, path: Path, sources: Sources) -> Iterator[SpecError]:
    if bound.at_least is not None and bound.at_most is not None and bound.at_most < bound.at_least:
        message = f"nothing is at least {bound.at_least:g} and at most {bound.at_most:g}"
        yield sources.error((*path, "at_most"), message, "change one of them")


def _monitor(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    monitor = spec.monitor
    if monitor is None:
        return
    if not sources.wrote("monitor", "drift") and not sources.wrote("monitor", "performance"):
        yield sources.error(("monitor",), "nothing to watch", "add `drift:` or `performance:`", key=True)
    for metric, bound in (monitor.performance or {}).items():
        path: Path = ("monitor", "performance", metric)
        yield from _metric(metric, path, spec, sources, key=True)
        yield from _bounds(bound, path, sources)
        if not sources.wrote(*path, "at_least") and not sources.wrote(*path, "at_most"):
            yield sources.error(path, "no bound", "add at_least or at_most", key=True)
    columns = monitor.drift.columns if monitor.drift else None
    path = ("monitor", "drift", "columns")
    yield from _repeated(columns or [], path, sources)
    for index, column in enumerate(columns or []):
        if spec.evaluate is not None and column == spec.evaluate.target:
            yield sources.error(
                (*path, index), "drift is measured on what the model sees, not on the target", "remove it"
            )
        if spec.data is not None and column in (*spec.data.key, spec.data.window.column):
            yield sources.error((*path, index), "keys and times always change, and are not measured", "remove it")


def _retrain(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    retrain = spec.retrain
    if retrain is None:
        return
    yield from _repeated(retrain.triggers, ("retrain", "triggers"), sources)
    for index, trigger in enumerate(retrain.triggers):
        if not sources.wrote("monitor"):
            hint = f"add a section `monitor:` with a schedule and `{trigger}:`"
        elif spec.monitor is not None and not sources.wrote("monitor", trigger):
            hint = f"add `{trigger}:` to monitor"
        else:
            continue
        yield sources.error(("retrain", "triggers", index), f"nothing watches {trigger}", hint)
    triggered = sources.wrote("retrain", "triggers") and sources.merged["retrain"]["triggers"] != []
    if not triggered and retrain.cooldown is not None:
        yield sources.error(
            ("retrain", "cooldown"),
            "a cooldown holds back triggered trainings, and there are no triggers",
            "add `triggers:`, or remove it",
            key=True,
        )
    if not sources.wrote("retrain", "at_most") and retrain.count_scheduled:
        message = "there is no `at_most` to count towards"
        yield sources.error(("retrain", "count_scheduled"), message, "add `at_most:`, or remove it", key=True)
    if not triggered and retrain.at_most is not None and not retrain.count_scheduled:
        yield sources.error(
            ("retrain", "at_most"),
            "there are no triggers, and scheduled runs are not counted",
            "add `triggers:`, or `count_scheduled: true`",
            key=True,
        )


def _names(spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """Names, as Airflow and MLflow take them."""
    for index, tag in enumerate(spec.tags or []):
        if not tag.strip() or len(tag) > _MAX_TAG:
            yield sources.error(("tags", index), f"a tag has 1 to {_MAX_TAG} characters", "shorten it, or remove it")
    if isinstance(spec.owner, str) and not spec.owner.strip():
        yield sources.error(("owner",), "the owner has no name", "write one, or remove the key")
    addresses: list[tuple[Path, str]] = [(("links", name), address) for name, address in (spec.links or {}).items()]
    if isinstance(spec.owner, Owner):
        addresses.append((("owner", "link"), spec.owner.link))
    for path, address in addresses:
        if not _leads_somewhere(address):
            yield sources.error(path, f'"{address}" leads nowhere', "e.g. https://example.org/ops")
    if isinstance(spec, Spec) and spec.promote is not None and _RESERVED_ALIAS.fullmatch(spec.promote.alias):
        message = f'"{spec.promote.alias}" is a name that MLflow keeps for versions'
        yield sources.error(("promote", "alias"), message, "e.g. champion")


def _leads_somewhere(address: str) -> bool:
    """Whether an address has what Airflow's own check asks of it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return bool(parts.path if parts.scheme == "mailto" else parts.hostname)


def _repeated(values: Sequence[str], path: Path, sources: Sources) -> Iterator[SpecError]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield sources.error((*path, index), f'"{value}" stands here twice', "remove one")
        seen.add(value)


_CHECKS: tuple[Check, ...] = (_evaluate, _gates, _monitor, _retrain)
