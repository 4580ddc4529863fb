"""Request bodies against the SDK's own model: botocore checks names, types and minima only; this, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from tidemill.platforms.ports import PlatformError


def check(client: Any, operation: str, body: Mapping[str, Any]) -> None:
    """Check a request's body: lengths, ranges, patterns and enumerations, wherever the model gives them.

    Raises:
        PlatformError: what is wrong, by its path in the body; the fault is the user's, who wrote the values.
    """
    shape = client.meta.service_model.operation_model(operation).input_shape
    found = "; ".join(problems(shape, body))
    if found:
        raise PlatformError(f"{operation} would be refused: {found}", fault="user")


def problems(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """What the model of botocore has against a value, one sentence each."""
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        for key, member in value.items():
            if key in shape.members:
                yield from problems(shape.members[key], member, f"{path}.{key}" if path else key)
    elif kind == "list" and isinstance(value, list | tuple):
        yield from _range(shape, len(value), path, "entries")
        for index, member in enumerate(value):
            yield from problems(shape.member, member, f"{path}[{index}]")
    elif kind == "map" and isinstance(value, Mapping):
        yield from _range(shape, len(value), path, "entries")
        for key, member in value.items():
            yield from problems(shape.key, key, f"{path}.{key}")
            yield from problems(shape.value, member, f"{path}.{key}")
    elif kind == "string" and isinstance(value, str):
        yield from _range(shape, len(value), path, "characters")
        yield from _text(shape, value, path)
    elif kind in {"integer", "long", "float", "double"} and isinstance(value, int | float):
        yield from _range(shape, value, path, "")


def _range(shape: Any, size: float, path: str, unit: str) -> Iterator[str]:
    unit = f" {unit}" if unit else ""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and size > most:
        yield f"{path} has {size}{unit}, at most {most} are allowed" if unit else f"{path} is {size}, at most {most}"
    if least is not None and size < least:
        yield f"{path} has {size}{unit}, at least {least} needed" if unit else f"{path} is {size}, at least {least}"


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{path} {value!r} is none of those that AWS knows ({shape.name})"
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, value):
        yield f"{path} {value!r} is not of the form {pattern}"


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.fullmatch(value) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """The model's Java pattern for Python; ``None`` for one that Python cannot read."""
    # Letters, spaces and digits of any script are what \w and \s stand for in a class.
    translated = pattern.replace(r"\p{L}", r"\w").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d")
    try:
        return re.compile(translated)
    except re.error:
        return None
