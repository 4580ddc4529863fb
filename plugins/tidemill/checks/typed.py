"""The arguments of a class or function in the plan's form, which is JSON, by the types of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tidemill.checks.allowed import Use, full_name
from tidemill.checks.annotations import ANY, Annotation, members
from tidemill.checks.parameters import Parameter, Signature, SignatureProblem
from tidemill.spec import units
from tidemill.spec.templates import is_template

Look = Callable[[str, Use], "Signature | SignatureProblem"]
"""What a name stands for: `tidemill.checks.signatures.Lookup`."""

OBJECT = "$object"
FUNCTION = "$function"


def typed(value: Any, kind: Annotation, look: Look) -> Any:
    """A checked argument in the plan's form, which is JSON: ``{"$timedelta": seconds}``, ``{"$datetime": iso}``,
    ``{"$function": name}``, ``{"$object": name, "with": {…}, "args": […]}``; texts with templates stay texts."""
    if isinstance(value, Mapping):
        if OBJECT in value:
            return _object(value, look)
        if FUNCTION in value:
            return {FUNCTION: value[FUNCTION]}
        inner = inner_of(kind, "mapping")
        return {str(key): typed(below, inner, look) for key, below in value.items()}
    if isinstance(value, list):
        inner = inner_of(kind, "list")
        return [typed(below, inner, look) for below in value]
    if isinstance(value, str) and not is_template(value):
        for one in members(kind):
            if one["type"] in ("any", "text") or (one["type"] == "choice" and value in one["values"]):
                return value
        for one in members(kind):
            made = _made(value, one["type"])
            if made is not None:
                return made
    return value


def typed_arguments(signature: Signature, arguments: Mapping[str, Any], look: Look) -> dict[str, Any]:
    """All checked arguments in the plan's form, each by its parameter's type."""
    found = {}
    for name, value in arguments.items():
        parameter = signature.parameter(name)
        found[name] = typed(value, parameter.type if parameter is not None else ANY, look)
    return found


def _object(value: Mapping[str, Any], look: Look) -> dict[str, Any]:
    name = value[OBJECT]
    signature = look(name, "object")
    given = value.get("with") or {}
    args = value.get("args") or []
    if isinstance(signature, SignatureProblem):  # checked arguments have none
        raise ValueError(signature.message)
    kinds = [one.type for one in by_position(signature, len(args))]
    return {
        OBJECT: full_name(name, "object"),
        "with": typed_arguments(signature, given, look),
        "args": [typed(one, kind, look) for one, kind in zip(args, kinds, strict=True)],
    }


def by_position(signature: Signature, count: int) -> list[Parameter]:
    """The parameters that the first ``count`` arguments go to; shorter if it takes fewer."""
    plain = [one for one in signature.parameters if one.passing in ("either", "positional")]
    rest = next((one for one in signature.parameters if one.passing == "rest"), None)
    if rest is None and signature.open:
        rest = Parameter("args")
    if rest is not None:
        plain += [rest] * (count - len(plain))
    return plain[:count]


def _made(text: str, kind: str) -> dict[str, Any] | None:
    try:
        if kind == "duration":
            return {"$timedelta": units.duration(text, zero=True) / timedelta(seconds=1)}
        if kind == "instant":
            return {"$datetime": units.instant(text).isoformat()}
    except units.UnitError:
        return None
    return {FUNCTION: text} if kind == "callable" else None


def inner_of(kind: Annotation, of: str) -> Annotation:
    """The type of what a list or mapping of a type holds; any, if that cannot be told."""
    found = [one.get("of", ANY) for one in members(kind) if one["type"] == of]
    return found[0] if len(found) == 1 else ANY
