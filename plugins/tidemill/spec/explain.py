"""What pydantic finds wrong with a spec's values, in words that say what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tidemill import __version__
from tidemill.spec import later
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.fields import FORMS
from tidemill.spec.models import Spec
from tidemill.spec.paths import field_at, model_at
from tidemill.spec.scalars import plain
from tidemill.spec.section import Section, keys_of
from tidemill.spec.steps import STEP_KINDS, kind_of
from tidemill.spec.units import UnitError

if TYPE_CHECKING:
    from tidemill.spec.load import Sources

Words = tuple[str, str | None]
"""A message and a hint."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_not_found": "text or a mapping",
}
_VERSION: Path = ("tidemill",)
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_MAX_KEYS = 20
_MAX_CHOICES = 6
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def explain(
    sources: Sources, value: Mapping[str, Any], found: list[Any], empty: Collection[Path]
) -> Iterator[SpecError]:
    """The errors of a validation of ``value``. ``empty``: keys without a value, which were told of already."""
    paths = [path_of(error["loc"], value) for error in found]
    if _is_newer(value.get("tidemill")):
        # What else is wrong here may be right there.
        found = [error for path, error in zip(paths, found, strict=True) if path == _VERSION]
        paths = [_VERSION] * len(found)
    # A misspelt key is one mistake, not one unknown and one missing key.
    unknown = [path for path, error in zip(paths, found, strict=True) if error["type"] == "extra_forbidden"]
    meant = {(*path[:-1], near) for path in unknown if (near := _near(path, value))}
    for path, error in zip(paths, found, strict=True):
        if error["type"] == "extra_forbidden":
            yield _unknown_key(sources, path)
        elif error["type"] == "missing":
            if path not in meant and path not in empty:
                yield _missing(sources, path)
        elif error["type"] != "too_short" or not any(e[: len(path)] == path for e in empty):
            message, hint = _wrong_value(error, path, value)
            yield sources.error(path, message, hint, key=error["loc"][-1] == "[key]")


def _is_newer(version: Any) -> bool:
    """Whether a file says that it is written in a version of the language that is still to come."""
    return isinstance(version, int) and not isinstance(version, bool) and version > 1


def path_of(loc: tuple[str | int, ...], value: Any) -> Path:
    """A pydantic location without the parts that name a union's branch or a mapping's key check."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(value, Mapping):
            if part in value:
                path.append(part)
                value = value[part]
            elif last and part != "[key]":
                path.append(part)
        elif isinstance(value, list) and isinstance(part, int):
            path.append(part)
            value = value[part] if part < len(value) else None
    return tuple(path)


def describe(value: Any) -> str:
    """A value as a message shows it, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    shown = text if len(text) <= 60 else text[:59] + "…"
    return f'"{shown}"' if isinstance(value, str) else f"the number {shown}"


def no_value(sources: Sources, path: Path) -> SpecError:
    """The error of a key without a value."""
    value = sources.merged
    field, model = field_at(path, value), model_at(path, value)
    hint = _example(path, value) or (f"its keys: {_listed(model)}" if model else "write one")
    optional = field is None or not field.is_required()
    return sources.error(path, "no value", f"{hint}; or remove the key" if optional else hint, key=True)


def _missing(sources: Sources, path: Path) -> SpecError:
    key, values = path[-1], _examples(path, sources.merged)
    hint = "add " + " or ".join(f"`{key}: {value}`" for value in values) if values else f"add `{key}:`"
    return sources.error(path[:-1], f'missing key "{key}"', hint, key=True)


def _example(path: Path, value: Any) -> str | None:
    """What could be written at a path, as a hint; else what the key is for."""
    if values := _examples(path, value):
        return f"e.g. {values[0]}"
    field = field_at(path, value)
    text = (field.description or "") if field else ""
    return f"{text[:1].lower()}{text[1:].rstrip('.')}" or None


def _examples(path: Path, value: Any) -> list[str]:
    """What could be written at a path: each of a few choices, or an example."""
    field = field_at(path, value)
    if field is None:
        return []
    if get_origin(field.annotation) is Literal:
        return [str(choice) for choice in get_args(field.annotation)]
    return [flow(field.examples[0])] if field.examples else []


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    text = str(value)
    return f'"{text}"' if isinstance(value, str) and ("*" in text or ": " in text) else text


def _near(path: Path, value: Any) -> str | None:
    """The key that an unknown one was probably meant to be."""
    model = model_at(path[:-1], value)
    return None if model is None or later.key(path) else suggest(str(path[-1]), keys_of(model))


def _unknown_key(sources: Sources, path: Path) -> SpecError:
    planned = later.key(path)
    if planned:
        return sources.error(path, planned, later.HINT, key=True)
    value = sources.merged
    key, near, model = str(path[-1]), _near(path, value), model_at(path[:-1], value)
    if near:
        hint: str | None = f'did you mean "{near}"?'
    elif key in STEP_KINDS and model and (kind := kind_of(keys_of(model))):
        return sources.error(path, f'"{key}" makes it something else than {kind}', "write two steps", key=True)
    elif elsewhere := _sections_with(key, path[:-1]):
        hint = f"`{key}` belongs to {' or '.join(elsewhere)}"
    else:
        hint = f"known keys: {_listed(model)}" if model else None
    return sources.error(path, f'unknown key "{key}"', hint, key=True, shown=path[:-1])


def _listed(model: type[Section]) -> str:
    """The keys of a section, its own before those it shares with others."""
    shared = {
        key for base in model.__mro__[1:] if base is not Section and issubclass(base, Section) for key in keys_of(base)
    }
    keys = sorted(keys_of(model), key=shared.__contains__)
    return ", ".join(keys[:_MAX_KEYS]) + (", …" if len(keys) > _MAX_KEYS else "")


def _sections_with(key: str, parent: Path) -> list[str]:
    """The top-level sections that have a key of this name."""
    sections = ((name, model_at((name,))) for name in keys_of(Spec) if (name,) != parent)
    return [name for name, model in sections if model is not None and key in keys_of(model)]


def _wrong_value(error: Mapping[str, Any], path: Path, value: Any) -> Words:
    kind, given, context = error["type"], error.get("input"), error.get("ctx") or {}
    planned = later.value(path, given)
    if planned:
        return planned, _instead(context) or _example(path, value)
    if kind == "union_tag_not_found" and isinstance(given, Mapping):
        return _no_kind(given)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {describe(given)}", _what_to_write(kind, given, path, value)
    if kind == "literal_error":
        return _wrong_choice(context, given, path)
    if kind == "value_error":
        return _wrong_unit(context.get("error"), given) or (str(context["error"]), None)
    if kind == "string_pattern_mismatch":
        return f"expected {FORMS[context['pattern']]}, got {describe(given)}", None
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty", _example(path, value)
    for limit, words in _LIMITS.items():
        if limit in context:
            return f"must be {words} {context[limit]:g}, is {given}", None
    return f"{error['msg']}, got {describe(given)}", None


def _no_kind(given: Mapping[str, Any]) -> Words:
    """A step that does not say what it is."""
    near = next(((key, kind) for key in given if (kind := suggest(key, STEP_KINDS))), None)
    hint = f'did you mean "{near[1]}" for "{near[0]}"?' if near else "e.g. operator: BashOperator"
    return f"a step has one of {', '.join(STEP_KINDS)}", hint


def _what_to_write(kind: str, given: Any, path: Path, value: Any) -> str | None:
    """The hint for a value of the wrong type."""
    if path[-1] == "schedule" and isinstance(given, list):
        return "write {cron: […]} or {assets: […]}"
    if kind == "string_type" and isinstance(given, int | float):
        return "put it in quotes"
    if kind == "bool_type":
        word = _BOOLEANS.get(str(given).lower())
        return f"write {word}" if word else None
    if kind in {"int_type", "float_type"} and isinstance(given, str):
        try:
            return "remove the quotes" if isinstance(plain(given), int | float) else None
        except ValueError:
            return None
    if kind in {"int_type", "int_from_float"} and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if kind == "list_type" and isinstance(given, str | int | float):
        return f"write [{given}]"
    if kind in {"model_type", "model_attributes_type"}:
        model = model_at(path, value)
        return f"its keys: {_listed(model)}" if model else None
    return _example(path, value)


def _wrong_choice(context: Mapping[str, Any], given: Any, path: Path) -> Words:
    choices = _expected(context)
    if path == _VERSION and _is_newer(given):
        hint = f"upgrade Tidemill: {__version__} reads `tidemill: 1`"
        return f"the file is written in a later version of the language, {given}", hint
    if path == _VERSION:
        return f"expected 1, got {describe(given)}", f"write `tidemill: 1`, the language of Tidemill {__version__}"
    near = suggest(given, choices) if isinstance(given, str) else None
    if len(choices) > _MAX_CHOICES:
        hint = f'did you mean "{near}"?' if near else f"one of {', '.join(choices)}"
        return f"expected one of its {len(choices)} values, got {describe(given)}", hint
    return f"expected {' or '.join(choices)}, got {describe(given)}", f'did you mean "{near}"?' if near else None


def _instead(context: Mapping[str, Any]) -> str | None:
    choices = _expected(context)
    return f"this version has {', '.join(choices)}" if choices else None


def _expected(context: Mapping[str, Any]) -> list[str]:
    """The choices that pydantic lists as ``'a', 'b' or 'c'``."""
    text = str(context.get("expected", "")).replace(" or ", ", ")
    return [choice.strip("'") for choice in text.split(", ") if choice]


def _wrong_unit(error: Any, given: Any) -> Words | None:
    if not isinstance(error, UnitError):
        return None
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        return error.message, error.hint
    return f"{error.message.partition(', got ')[0]}, got {describe(given)}", error.hint
