"""Where a path of keys leads in the language: to which section, and to which of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from tidemill.spec.fields import Deferred
from tidemill.spec.models import Spec
from tidemill.spec.section import Section, keys_of


def model_at(path: tuple[str | int, ...], value: Any = None) -> type[Section] | None:
    """The section that a path of keys leads to; ``None`` where it leads to no section. ``value``: the file's values,
    by which alternatives (an operator, a function, a group) are told apart."""
    at = _at(path, value)
    return at if _is_section(at) else None


def field_at(path: tuple[str | int, ...], value: Any = None) -> FieldInfo | None:
    """The field that a path of keys leads to; ``None`` where it leads to none."""
    model = model_at(path[:-1], value)
    return keys_of(model).get(str(path[-1])) if model is not None and path else None


def _at(path: tuple[str | int, ...], value: Any) -> Any:
    at: Any = Spec
    for part in path:
        value = _below(value, part)
        if _is_section(at):
            field = keys_of(at).get(str(part))
            at = _structure(field.rebuild_annotation(), value) if field else None
        elif get_origin(at) is dict:
            at = _structure(get_args(at)[1], value)
        elif get_origin(at) is list and isinstance(part, int):
            at = _structure(get_args(at)[0], value)
        else:
            return None
    return at


def _below(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _structure(annotation: Any, value: Any) -> Any:
    """The section, mapping or list among the alternatives of an annotation (``Schedule | None`` → ``Timing``)."""
    found = list(_alternatives(annotation))
    if isinstance(value, list):
        found = [a for a in found if get_origin(a) is list] or found
    elif isinstance(value, Mapping):
        found = [a for a in found if get_origin(a) is not list] or found
        from tidemill.spec.steps import kind_of

        kind = kind_of(value)
        found = [a for a in found if _is_section(a) and kind and kind_of(keys_of(a)) == kind] or found
    return found[0] if found else None


def _alternatives(annotation: Any) -> Iterator[Any]:
    if _is_section(annotation) or get_origin(annotation) in (dict, list):
        yield annotation
    elif isinstance(annotation, Deferred):
        yield from _alternatives(annotation.annotation)
    else:
        for inner in get_args(annotation):
            yield from _alternatives(inner)
