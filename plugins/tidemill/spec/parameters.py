"""The parameters of a template, and what a file gives it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tidemill.spec.document import Document
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.explain import describe, flow
from tidemill.spec.layers import Layer, Stack

PARAMETERS: Final = "parameters"
NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_KEYS: Final = ("type", "default", "description", "choices")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "number": (_is_number, "a number"),
    "integer": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "list": (lambda value: isinstance(value, list), "a list"),
    "mapping": (lambda value: isinstance(value, Mapping), "a mapping"),
}


def declared(template: Document) -> dict[str, Mapping[str, Any]]:
    """The parameters that a template declares, by name."""
    found = template.value.get(PARAMETERS)
    return dict(found) if isinstance(found, Mapping) else {}


def check_declared(template: Document) -> Iterator[SpecError]:
    """What is wrong with a template's parameters themselves."""
    parameters = template.value.get(PARAMETERS, {})
    if not isinstance(parameters, Mapping):
        hint = "e.g. {threshold: {type: number, default: 0.6}}"
        yield template.error((PARAMETERS,), f"expected a mapping, got {describe(parameters)}", hint)
        return
    for name, parameter in parameters.items():
        at = (PARAMETERS, name)
        if not NAME.fullmatch(name):
            message = f'"{name}" cannot be a parameter\'s name'
            yield template.error(at, message, 'letters, digits, "_" and "-"', key=True)
        elif not isinstance(parameter, Mapping):
            yield template.error(at, f"expected a mapping, got {describe(parameter)}", "e.g. {type: number}")
        else:
            yield from _check_one(template, name, parameter)


def _check_one(template: Document, name: str, parameter: Mapping[str, Any]) -> Iterator[SpecError]:
    at = (PARAMETERS, name)
    for key in parameter:
        if key not in _KEYS:
            near = suggest(key, _KEYS)
            hint = f'did you mean "{near}"?' if near else f"known keys: {', '.join(_KEYS)}"
            yield template.error((*at, key), f'unknown key "{key}"', hint, key=True)
    kind = parameter.get("type")
    if kind is None:
        if "type" not in parameter and not any(suggest(key, ["type"]) for key in parameter):
            yield template.error(at, 'missing key "type"', f"one of {', '.join(_TYPES)}", key=True)
        elif "type" in parameter:
            yield template.error((*at, "type"), "no value", f"one of {', '.join(_TYPES)}", key=True)
        return
    if not isinstance(kind, str) or kind not in _TYPES:
        near = suggest(kind, _TYPES) if isinstance(kind, str) else None
        meant = f'did you mean "{near}"?' if near else None
        yield template.error((*at, "type"), f"expected {' or '.join(_TYPES)}, got {describe(kind)}", meant)
        return
    choices = parameter.get("choices")
    if "choices" in parameter and not (isinstance(choices, list) and choices):
        yield template.error((*at, "choices"), f"expected a list of values, got {describe(choices)}", "e.g. [a, b]")
        return
    for index, choice in enumerate(choices or ()):
        if problem := _of_type(choice, kind):
            yield template.error((*at, "choices", index), *problem)
    if "default" in parameter and (problem := _wrong(parameter["default"], parameter)):
        yield template.error((*at, "default"), *problem)
    if not isinstance(parameter.get("description", ""), str):
        yield template.error((*at, "description"), f"expected text, got {describe(parameter['description'])}", None)


def defaults_of(template: Document) -> Layer:
    """The defaults of a template's parameters, as values that nothing else was given for."""
    with_default = {name: p["default"] for name, p in declared(template).items() if "default" in p}
    roots = {name: (PARAMETERS, name, "default") for name in with_default}
    return Layer(template, with_default, (PARAMETERS,), roots=roots)


def check_given(given: Stack, own: Document, template: Document) -> Iterator[SpecError]:
    """What is wrong with the values that a file gives a template's parameters. ``given``: defaults included."""
    parameters = declared(template)
    unknown = [name for name in given.merged if name not in parameters]
    meant = {suggest(name, parameters) for name in unknown}
    for name in unknown:
        near = suggest(name, parameters)
        hint = f'did you mean "{near}"?' if near else f"{template.file} knows: {', '.join(parameters) or 'none'}"
        yield _error(given, name, f'unknown parameter "{name}"', hint, key=True)
    for name, parameter in parameters.items():
        if name not in given.merged:
            if name not in meant:
                given_some = isinstance(own.value.get("with"), Mapping)
                words = str(parameter.get("description") or _TYPES[parameter["type"]][1]).strip().rstrip(".")
                hint = f"add `{name}:` ({words})" if given_some else f"add `with: {{{name}: …}}` ({words})"
                message = f'missing parameter "{name}" of {template.file}'
                yield own.error(("with",) if given_some else ("uses",), message, hint, key=True)
        elif problem := _wrong(given.merged[name], parameter):
            yield _error(given, name, *problem)


def _error(given: Stack, name: str, message: str, hint: str | None, *, key: bool = False) -> SpecError:
    spot = given.spot((name,), key)
    message = f"{message} ({spot.note})" if spot.note else message
    return spot.document.text.error(spot.mark, ("with", name), message, hint)


def _wrong(value: Any, parameter: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Message and hint for a value that a parameter does not take."""
    if problem := _of_type(value, parameter["type"]):
        return problem
    choices = parameter.get("choices")
    if choices and value not in choices:
        listed = " or ".join(flow(choice) for choice in choices)
        near = suggest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else None
        return f"expected {listed}, got {describe(value)}", f'did you mean "{near}"?' if near else None
    return None


def _of_type(value: Any, kind: str) -> tuple[str, str | None] | None:
    fits, words = _TYPES[kind]
    if fits(value):
        return None
    hint = "put it in quotes" if kind == "text" and _is_number(value) else None
    return f"expected {words}, got {describe(value)}", hint
