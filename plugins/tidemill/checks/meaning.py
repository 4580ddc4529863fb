"""What can be said about a spec's stages and names without leaving it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from tidemill.checks import addresses, monitoring, places, platform, processing, timing
from tidemill.checks.common import bounds, metric_named, repeated
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError
from tidemill.spec.load import Sources
from tidemill.spec.metrics import METRICS
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


def _data(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """What versions the rows, and where."""
    data, platform = spec.data, spec.platform
    if data is None:
        return
    if data.version == "object-store" and platform is not None:
        if platform.provider == "local":
            hint = "write `version: dvc`, or leave it out"
            yield sources.error(("data", "version"), "provider local has no object store", hint)
        elif platform.provider == "kubernetes" and not sources.wrote("platform", "bucket"):
            hint = "name a bucket instead of a volume, or write `version: dvc`"
            yield sources.error(("data", "version"), "object versions are those of a bucket", hint)
    if data.keep is None:
        return
    if data.version != "object-store":
        yield sources.error(
            ("data", "keep"),
            "versions of DVC have no lifecycle",
            "write `version: object-store`, or remove it",
            key=True,
        )
    elif data.keep.approx() < timedelta(days=1):
        yield sources.error(("data", "keep"), "a bucket's lifecycle counts days", "e.g. 90 d, or 1 year")


def _evaluate(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    evaluate = spec.evaluate
    if evaluate is None:
        return
    yield from repeated(evaluate.metrics, ("evaluate", "metrics"), sources)
    yield from repeated(evaluate.slices, ("evaluate", "slices"), sources)
    for index, metric in enumerate(evaluate.metrics):
        yield from metric_named(metric, ("evaluate", "metrics", index), spec, sources, key=False)
    for index, column in enumerate(evaluate.slices):
        if column == evaluate.target:
            yield sources.error(
                ("evaluate", "slices", index), "a slice by the target says nothing about the model", "remove it"
            )
    data = spec.data
    if data is not None:
        yield from repeated(data.key, ("data", "key"), sources)
        if evaluate.target in data.key:
            yield sources.error(("evaluate", "target"), "the target cannot be part of data.key", "name another column")
        if evaluate.target == data.window.column:
            yield sources.error(
                ("evaluate", "target"), "the target cannot be data.window.column", "name another column"
            )


def _gates(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    if spec.promote is None:
        return
    for metric, gate in spec.promote.when.items():
        path: Path = ("promote", "when", metric)
        unknown = list(metric_named(metric, path, spec, sources, key=True))
        yield from unknown
        if not unknown and spec.evaluate is not None and metric not in spec.evaluate.metrics:
            yield sources.error(path, f'"{metric}" is not computed', "add it to evaluate.metrics", key=True)
        yield from bounds(gate, path, sources)
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


_CHECKS: tuple[Check, ...] = (
    platform.check,
    processing.check,
    places.check,
    _data,
    addresses.check,
    _evaluate,
    _gates,
    monitoring.score,
    monitoring.monitor,
    monitoring.retrain,
)
