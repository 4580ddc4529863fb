"""The language reference, made from the models: ``docs/language.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from tidemill.spec import chapters
from tidemill.spec.fields import Deferred
from tidemill.spec.metrics import METRICS
from tidemill.spec.models import Owner, Spec, Workflow
from tidemill.spec.monitoring import QuietHours, Upstream
from tidemill.spec.paths import model_at
from tidemill.spec.platform import Toleration
from tidemill.spec.section import Section, keys_of
from tidemill.spec.steps import (
    Callback,
    DeadlineSection,
    FunctionStep,
    Group,
    OperatorStep,
    Placed,
    Settings,
    Single,
    Teardown,
)
from tidemill.spec.timing import AssetExpression, Timing, Watcher

_TITLES: dict[type[Section], str] = {
    Owner: "Owner",
    QuietHours: "Quiet hours",
    Upstream: "Upstream assets",
    Toleration: "Tolerations",
    Timing: "Schedules",
    AssetExpression: "Assets",
    Watcher: "Watchers",
    OperatorStep: "A step by an operator",
    FunctionStep: "A step by a function",
    Group: "A group",
    Placed: "Places and repetitions",
    Single: "What all steps but groups have",
    Settings: "Settings of tasks",
    Teardown: "Teardown",
    Callback: "Callbacks and notifiers",
    DeadlineSection: "Deadlines",
}
"""Sections that stand in several places, each with its heading."""

_OF_STEPS = (OperatorStep, FunctionStep, Group)


def reference() -> str:
    """The whole reference as Markdown."""
    shared = keys_of(Workflow)
    parts = [
        chapters.HEAD,
        "## The file\n\nKeys of all files:\n",
        _table(Workflow, ()),
        chapters.REUSE,
        "Keys of a pipeline of models:\n",
        _table(Spec, (), without=shared),
        *(part for name in keys_of(Spec) if name not in shared for part in _sections((name,))),
        _metrics(),
        *_chapter(QuietHours),
        *_chapter(Upstream),
        *_chapter(Toleration),
        *_chapter(Owner),
        *_chapter(Timing, chapters.SCHEDULES),
        *_chapter(AssetExpression, chapters.ASSETS),
        *_chapter(Watcher),
        "## Steps\n",
        chapters.STEPS,
        *(part for model in _OF_STEPS for part in _chapter(model, level=3, without=_shared(model))),
        *_chapter(Placed, chapters.PLACING, level=3),
        *_chapter(Single, level=3, without=_shared(Single)),
        *_chapter(Settings, level=3),
        *_chapter(Teardown, level=3),
        "## Arguments\n",
        chapters.ARGUMENTS,
        "## What may be named\n",
        chapters.ALLOWED,
        *_chapter(Callback, chapters.CALLED),
        *_chapter(DeadlineSection),
        "## Parameters\n",
        chapters.PARAMS,
        "## Versions\n",
        chapters.VERSIONS,
    ]
    return "\n".join(parts)


def _shared(model: type[Section]) -> set[str]:
    """The keys that a section has from others, which have a table of their own."""
    return {key for base in model.__mro__[1:] if base in _TITLES for key in keys_of(base)}


def _chapter(model: type[Section], text: str = "", *, level: int = 2, without: Iterable[str] = ()) -> Iterator[str]:
    yield f"{'#' * level} {_TITLES[model]}\n"
    yield f"{(model.__doc__ or '').strip()}\n"
    if text:
        yield text
    yield _table(model, (), without=without)


def _sections(path: tuple[str, ...]) -> Iterator[str]:
    """A section of a pipeline of models and those inside it, each below its path."""
    model = model_at(path)
    assert model is not None
    if model in _TITLES:
        return
    yield f"## `{'.'.join(path)}`\n\n{(model.__doc__ or '').strip()}\n"
    yield _table(model, path)
    for name in keys_of(model):
        inner = _inner((*path, name))
        if inner is not None:
            yield from _sections(inner)


def _inner(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Where the section is that a key leads to: at the key, or below each metric."""
    return next((p for p in (path, (*path, "<metric>")) if model_at(p) is not None), None)


def _table(model: type[Section], path: tuple[str, ...], without: Iterable[str] = ()) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in keys_of(model).items():
        if name in without:
            continue
        anchor, annotation = _anchor(field, (*path, name)), field.rebuild_annotation()
        key = f"[`{name}`](#{anchor})" if anchor else f"`{name}`"
        lines.append(f"| {key} | {_type(annotation)} | {_default(field)} | {_meaning(field)} |")
    return "\n".join(lines) + "\n"


def _anchor(field: FieldInfo, path: tuple[str, ...]) -> str | None:
    """The heading at which the sections of a key are described."""
    models = [model for model in _models(field.rebuild_annotation()) if model is not Spec]
    if path[-1] == "steps":
        return "steps"
    if path[-1] == "params" and len(path) == 1:
        return "parameters"
    if not models:
        return None
    if models[0] in _TITLES:
        return _TITLES[models[0]].lower().replace(" ", "-")
    inner = _inner(path)
    return ".".join(inner).replace(".", "").replace("<metric>", "metric").lower() if inner else None


def _models(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif isinstance(annotation, Deferred):
        yield from _models(annotation.annotation)
    else:
        for inner in get_args(annotation):
            yield from _models(inner)


def _plain(annotation: Any) -> Any:
    """An annotation without its ``None``."""
    rest = [a for a in get_args(annotation) if a is not type(None)] if _is_union(annotation) else [annotation]
    return rest[0] if len(rest) == 1 else annotation


def _is_union(annotation: Any) -> bool:
    return str(get_origin(annotation)) in {"typing.Union", "<class 'types.UnionType'>"}


_NAMES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "`true` or `false`",
    "timedelta": "duration",
    "datetime": "instant",
    "Span": "span",
    "Quota": "quota",
    "Any": "anything",
}


def _type(annotation: Any) -> str:
    annotation = _plain(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"mapping: {_type(args[0])} → {_type(args[1])}" if args[1] is not Any else "mapping"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    if _is_union(annotation):
        return " or ".join(dict.fromkeys(_type(a) for a in args if a is not type(None)))
    if hasattr(annotation, "__metadata__"):
        deferred = next((m for m in annotation.__metadata__ if isinstance(m, Deferred)), None)
        return _type(deferred.annotation) if deferred else _unit(annotation.__metadata__) or _type(args[0])
    return _NAMES.get(getattr(annotation, "__name__", str(annotation)), "text")


def _unit(metadata: Iterable[Any]) -> str:
    """A quantity with a unit is shown by examples of it."""
    shapes = (m.json_schema for m in metadata if isinstance(m, WithJsonSchema))
    return next((", ".join(f"`{e}`" for e in (shape or {}).get("examples", ())) for shape in shapes), "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", [], {}) or isinstance(value, Section):
        return ""
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`"


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _metrics() -> str:
    lines = [
        "## Metrics",
        "",
        "By scikit-learn's definitions. Those marked need probabilities (`predict_proba`).",
        "",
        "| metric | task | better | |",
        "| --- | --- | --- | --- |",
    ]
    for m in METRICS.values():
        better = "greater" if m.greater_is_better else "smaller"
        lines.append(f"| `{m.name}` | {m.task} | {better} | {'probabilities' if m.probabilities else ''} |")
    return "\n".join(lines) + "\n"
