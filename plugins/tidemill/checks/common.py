"""What several checks say of metrics, bounds and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.metrics import METRICS, names
from tidemill.spec.models import Spec


def metric_named(metric: str, path: Path, spec: Spec, sources: Sources, *, key: bool) -> Iterator[SpecError]:
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


def bounds(bound: Any, path: Path, sources: Sources) -> Iterator[SpecError]:
    """The lower bound lies below the upper one."""
    if bound.at_least is not None and bound.at_most is not None and bound.at_most < bound.at_least:
        message = f"nothing is at least {bound.at_least:g} and at most {bound.at_most:g}"
        yield sources.error((*path, "at_most"), message, "change one of them")


def repeated(values: Sequence[str], path: Path, sources: Sources) -> Iterator[SpecError]:
    """A list that names something twice."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield sources.error((*path, index), f'"{value}" stands here twice', "remove one")
        seen.add(value)


def known_keys(
    path: Path, table: Mapping[str, tuple[str, ...]], whose: str, of: str, sources: Sources
) -> Iterator[SpecError]:
    """The keys written in the section at ``path`` that only others in the table have a use for: ``whose`` is the row,
    and ``of`` what it is called."""
    written: Any = sources.merged
    for part in path:
        if isinstance(part, int):
            written = written[part] if isinstance(written, list) else None
        else:
            written = written.get(part) if isinstance(written, dict) else None
    keys, others = table[whose], {key for group in table.values() for key in group}
    for key in written if isinstance(written, dict) else ():
        if key in others and key not in keys and written[key] is not None:
            hint = f"it knows {', '.join(keys)}" if keys else "remove it"
            yield sources.error((*path, key), f"{of} has no use for `{key}`", hint, key=True)
