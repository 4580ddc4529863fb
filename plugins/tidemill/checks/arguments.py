"""The arguments of a class or function, as a spec writes them: checked by its signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from tidemill.checks.allowed import Use
from tidemill.checks.annotations import ANY, Annotation, described, is_optional, members
from tidemill.checks.parameters import Parameter, Signature, SignatureProblem
from tidemill.checks.typed import FUNCTION, OBJECT, Look, by_position, inner_of
from tidemill.checks.written import CONTEXT_NAMES
from tidemill.spec import units
from tidemill.spec.document import Path
from tidemill.spec.errors import MAX_ERRORS, SpecError, printable, suggest
from tidemill.spec.load import Sources
from tidemill.spec.templates import is_template, problems

_RESERVED = ("$timedelta", "$datetime", "$output", "$each")
"""Keys by which the plan marks a value for what it is."""
_PARTS = (OBJECT, "with", "args")

_ELSEWHERE = {
    "task_id": "the step's name is its id",
    "dag": "the spec makes the DAG",
    "task_group": "nest the step below the group's `steps`",
    "params": "write `params:` beside `with`, or at the top of the file for the whole DAG",
    "start_date": "write `start:` at the top of the file",
    "end_date": "write `end:` at the top of the file",
    "default_args": "write `defaults:` at the top of the file, or of a group",
}
_CALLBACK = "_callback"
_NOT_THERE = frozenset((
    "resources", "sla", "pre_execute", "post_execute", "logger_name", "multiple_outputs", "retry_policy", "doc",
    "doc_json", "doc_yaml", "doc_rst", "allow_nested_operators", "render_template_as_native_obj",
))  # fmt: skip
"""Settings of an operator that a step does not have."""


def check_arguments(
    signature: Signature,
    arguments: Mapping[str, Any],
    path: Path,
    sources: Sources,
    *,
    look: Look,
    mapped: set[str] | frozenset[str] = frozenset(),
    supplied: set[str] | frozenset[str] = frozenset(),
) -> Iterator[SpecError]:
    """What is wrong with the arguments written at ``path``.

    mapped: arguments that ``for_each`` gives; supplied: those that the compiler itself gives.
    """
    check = _Check(signature, sources, look)
    # A misspelt argument is one mistake, not one unknown and one missing.
    strange = islice((name for name in arguments if unknown(signature, name)), MAX_ERRORS)
    meant = {near for name in strange if (near := _near(signature, name))}
    for name, value in arguments.items():
        at = (*path, name)
        wrong = unknown(signature, name)
        if wrong is None and name in mapped:
            wrong = f'"{name}" is given by `for_each` too', "write it in one place"
        if wrong is not None:
            yield sources.error(at, *wrong, key=True)
        else:
            parameter = signature.parameter(name)
            kind = parameter.type if parameter is not None else ANY
            yield from check.value(value, kind, at, signature.rendered(name))
    for parameter in signature.parameters:
        given = any(parameter.name in names for names in (arguments, mapped, supplied, meant))
        if parameter.required and not given and parameter.passing in ("either", "named"):
            message = f'"{signature.short}" needs "{parameter.name}"'
            yield sources.error(path, message, _hint_for(parameter), key=True)


def unknown(signature: Signature, name: str) -> tuple[str, str | None] | None:
    """Why a class or function takes no argument of this name; ``None`` if it does."""
    shown = printable(name)[:80]
    if "function" in signature.kinds and name in CONTEXT_NAMES:
        return f'"{shown}" is given by Airflow itself', "leave it out, or call the parameter otherwise"
    if signature.parameter(name) is not None:
        return None
    if name in signature.settings:
        return _a_setting(name)
    if any(one.name == name for one in signature.parameters):
        return f'"{signature.short}" takes "{shown}" only by position', "which a spec cannot give"
    if signature.open:
        return None
    names = _names(signature)
    near = _near(signature, name)
    setting = suggest(name, signature.settings) if near is None else None
    message = f'"{signature.short}" has no argument "{shown}"'
    if near is not None:
        return message, f'did you mean "{near}"?'
    if setting is not None:
        return message, f'did you mean the setting "{setting}", beside `with`?'
    return message, f"it takes: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "it takes none"


def _names(signature: Signature) -> list[str]:
    return [one.name for one in signature.parameters if one.passing in ("either", "named")]


def _near(signature: Signature, name: str) -> str | None:
    """The parameter that an argument was probably meant to be."""
    return suggest(name, _names(signature))


def named(value: Any) -> Iterator[tuple[str, Use]]:
    """The classes and functions that arguments name by ``$object`` and ``$function``, for looking at them at once."""
    if isinstance(value, Mapping):
        for key, use in ((OBJECT, "object"), (FUNCTION, "callable")):
            if isinstance(value.get(key), str):
                yield value[key], "object" if use == "object" else "callable"
        for below in value.values():
            yield from named(below)
    elif isinstance(value, list):
        for below in value:
            yield from named(below)


def _a_setting(name: str) -> tuple[str, str]:
    message = f'"{name}" is a setting of any step, no argument'
    if name in _ELSEWHERE:
        return message, _ELSEWHERE[name]
    if name in _NOT_THERE:
        return f'"{name}" is a setting that steps do not have', "leave it out"
    shown = name.removesuffix(_CALLBACK)
    return message, f"write `{shown}:` beside `with`, not in it"


def _hint_for(parameter: Parameter) -> str:
    return f"add `{parameter.name}:`" + (f" ({described(parameter.type)})" if parameter.type != ANY else "")


class _Check:
    """The checks of one class's arguments."""

    def __init__(self, signature: Signature, sources: Sources, look: Look) -> None:
        self._signature = signature
        self._sources = sources
        self._look = look

    def value(self, value: Any, kind: Annotation, at: Path, rendered: bool) -> Iterator[SpecError]:
        """What is wrong with one value, or below it."""
        if isinstance(value, str) and is_template(value):
            found = [*self._template(value, at, rendered)]
            if found or rendered:
                yield from found
                return
        if isinstance(value, Mapping):
            special = [key for key in value if isinstance(key, str) and key.startswith("$")]
            if special:
                wrong = [*self._special(value, special, at, rendered)]
                yield from wrong
                if wrong or OBJECT in value or FUNCTION in value:
                    return
        yield from self._typed(value, kind, at, rendered)

    def _template(self, text: str, at: Path, rendered: bool) -> Iterator[SpecError]:
        if not rendered:
            if "{{" in text or "{%" in text:
                fields = self._signature.template_fields
                hint = f"rendered are: {', '.join(fields)}" if fields else "it renders no argument"
                message = f'"{at[-1]}" is not rendered by {self._signature.short}: the template would stay text'
                yield self._sources.error(at, message, hint)
            return
        for problem in problems(text):
            where = f" (line {problem.line} of the text)" if problem.line > 1 else ""
            yield self._sources.error(at, problem.message + where, problem.hint)

    def _special(self, value: Mapping[str, Any], keys: list[str], at: Path, rendered: bool) -> Iterator[SpecError]:
        for key in keys:
            if key in _RESERVED:
                hint = "write a duration such as 15 min, or an instant, as it is"
                yield self._sources.error((*at, key), f'"{key}" is not for specs', hint, key=True)
            elif key not in (OBJECT, FUNCTION) and (near := suggest(key, (OBJECT, FUNCTION))):
                message = f'unknown form "{printable(key)[:40]}"'
                yield self._sources.error((*at, key), message, f'did you mean "{near}"?', key=True)
        if OBJECT in value:
            yield from self._object(value, at, rendered)
        elif FUNCTION in value:
            yield from self._only(value, (FUNCTION,), at)
            yield from self._function(value[FUNCTION], (*at, FUNCTION))

    def _object(self, value: Mapping[str, Any], at: Path, rendered: bool) -> Iterator[SpecError]:
        yield from self._only(value, _PARTS, at)
        name = value[OBJECT]
        given = value.get("with")
        args = value.get("args")
        if given is not None and not isinstance(given, Mapping):
            yield self._sources.error((*at, "with"), "expected the arguments, by name", "e.g. with: {name: value}")
            return
        if args is not None and not isinstance(args, list):
            yield self._sources.error((*at, "args"), "expected a list of arguments", "e.g. args: [value]")
            return
        signature = self._named(name, "object", (*at, OBJECT))
        if isinstance(signature, SpecError):
            yield signature
            return
        if not rendered:
            signature = _unrendered(signature)
        elif signature.name.startswith("kubernetes."):
            signature = _rendered(signature)  # the Kubernetes operators render what is inside of these themselves
        args = args or []
        first = by_position(signature, len(args))
        if len(first) < len(args):
            message = f'"{signature.short}" takes {len(first)} arguments by position, not {len(args)}'
            yield self._sources.error((*at, "args"), message)
        inside = _Check(signature, self._sources, self._look)
        for index, (one, parameter) in enumerate(zip(args, first, strict=False)):
            yield from inside.value(one, parameter.type, (*at, "args", index), signature.rendered(parameter.name))
        yield from check_arguments(
            signature,
            given or {},
            (*at, "with") if given else (*at, OBJECT),
            self._sources,
            look=self._look,
            supplied={one.name for one in first},
        )

    def _only(self, value: Mapping[str, Any], known: tuple[str, ...], at: Path) -> Iterator[SpecError]:
        for key in value:
            if key not in known and key not in _RESERVED:
                near = suggest(str(key), known)
                hint = f'did you mean "{near}"?' if near else f"it takes: {', '.join(known)}"
                message = f'"{known[0]}" has no part "{printable(str(key))[:40]}"'
                yield self._sources.error((*at, key), message, hint, key=True)

    def _function(self, name: Any, at: Path) -> Iterator[SpecError]:
        signature = self._named(name, "callable", at)
        if isinstance(signature, SpecError):
            yield signature

    def _named(self, name: Any, use: Use, at: Path) -> Signature | SpecError:
        if not isinstance(name, str):
            return self._sources.error(at, f"expected a name, got {_shown(name)}")
        found = self._look(name, use)
        if isinstance(found, SignatureProblem):
            return self._sources.error(at, found.message, found.hint)
        return found

    def _typed(self, value: Any, kind: Annotation, at: Path, rendered: bool) -> Iterator[SpecError]:
        """What is wrong with a value by its type. Of several types, the one of its form is held against it."""
        fitting = [one for one in members(kind) if _has_form(value, one["type"])]
        if value is None and is_optional(kind):
            return
        if not fitting and kind["type"] != "any":
            yield self._sources.error(at, f"expected {described(kind)}, got {_shown(value)}", _hint(value, kind))
            return
        if isinstance(value, list | Mapping):
            of = "list" if isinstance(value, list) else "mapping"
            inner = inner_of(kind, of)
            for key, below in enumerate(value) if isinstance(value, list) else value.items():
                yield from self.value(below, inner, (*at, key), rendered)
        elif isinstance(value, str | int):
            tried = [[*self._text(value, one, at)] for one in fitting]
            if tried and all(tried):
                several = f"expected {described(kind)}, got {_shown(value)}"
                yield from tried[0] if len(tried) == 1 else [self._sources.error(at, several)]

    def _text(self, text: str | int, kind: Annotation, at: Path) -> Iterator[SpecError]:
        """What is wrong with a scalar that stands for something else, or is one of several."""
        try:
            match kind["type"]:
                case "duration":
                    units.duration(text, zero=True)
                case "instant":
                    units.instant(text)
                case "callable":
                    yield from self._function(text, at)
                case "choice" if text not in kind["values"]:
                    near = suggest(str(text), [one for one in kind["values"] if isinstance(one, str)])
                    hint = f'did you mean "{near}"?' if near else None
                    yield self._sources.error(at, f"expected {described(kind)}, got {_shown(text)}", hint)
        except units.UnitError as e:
            yield self._sources.error(at, e.message, e.hint)


def _unrendered(signature: Signature) -> Signature:
    return Signature(signature.name, signature.kinds, signature.parameters, signature.settings, (), signature.open)


def _rendered(signature: Signature) -> Signature:
    return Signature(signature.name, signature.kinds, signature.parameters, signature.settings, None, signature.open)


def _has_form(value: Any, kind: str) -> bool:
    """Whether a value could be of a type, by its form in YAML alone."""
    match kind:
        case "any":
            return True
        case "text" | "duration" | "instant" | "callable":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "choice":
            return isinstance(value, str | int | bool)
        case "list":
            return isinstance(value, list)
        case "mapping":
            return isinstance(value, Mapping)
    return value is None


def _hint(value: Any, kind: Annotation) -> str | None:
    types = {one["type"] for one in members(kind)}
    if isinstance(value, int | float) and "text" in types:
        return f'quote it: "{_shown(value)}"'
    if isinstance(value, int | float) and not isinstance(value, bool) and "duration" in types:
        return f"add a unit, e.g. {value} s"
    if isinstance(value, str) and types & {"integer", "number"}:
        try:
            seconds = units.duration(value) / timedelta(seconds=1)
            return f"if it counts seconds: {seconds:g}"
        except units.UnitError:
            if value.replace(".", "", 1).isdigit():
                return "without quotes"
    if "list" in types and not isinstance(value, list | Mapping):
        return f"e.g. [{_shown(value)}]"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{printable(value if len(value) <= 40 else value[:39] + "…")}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return str(value)[:40]
