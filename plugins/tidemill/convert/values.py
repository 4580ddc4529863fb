"""Values of dag-factory as values of a spec."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import object_name, permitted, variables
from tidemill.spec.units import format_duration

TYPE, ARGS = "__type__", "__args__"
_REFERENCE = re.compile(r"\$\$\{|\$\{(?=\s*[A-Za-z_]\w*\s*\.)")
_SHELL = frozenset({"bash_command", "env", "script"})
"""Arguments in which a shell puts the value of a variable in, at the worker."""
_RELATIVE = re.compile(r"(\d+)\s+(hour|minute|second|day)", re.IGNORECASE)


def text_of(item: Item, path: str, conversion: Conversion) -> str:
    """A text of the spec: what would be a reference there stays what it is."""
    found = item.text
    names = variables(found)
    if names:
        shown = ", ".join(f"${name}" for name in names)
        if path.rpartition(".")[2] in _SHELL:
            conversion.told(item, path, f"{shown} is left to the shell; dag-factory puts it in when it reads the file")
        else:
            message = f"{shown} stays as it is written; dag-factory puts the environment's value in"
            conversion.lost(item, path, message, "write the value, or ${vars.name} with `vars:` and `environments:`")
    return _REFERENCE.sub(lambda match: f"${match[0]}", found)


def value_of(item: Item, path: str, conversion: Conversion) -> Any:
    """A value as a spec's argument; ``__type__`` becomes ``$object``, which is no more run here than there."""
    value = item.value
    if isinstance(value, str):
        return text_of(item, path, conversion)
    if isinstance(value, dt.date):
        conversion.lost(item, path, "dag-factory gives a date here; the spec has its text", "use `$object` if needed")
        return value.isoformat()
    if isinstance(value, list):
        return [value_of(below, f"{path}[{index}]", conversion) for index, below in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if TYPE in value:
        return object_of(item, path, conversion)
    for key in ("__and__", "__or__"):
        if key in value:
            sign = " & " if key == "__and__" else " | "
            parts = value[key].value if isinstance(value[key].value, list) else [value[key]]
            return "(" + sign.join(str(value_of(part, path, conversion)) for part in parts) + ")"
    return {key: value_of(below, f"{path}.{key}", conversion) for key, below in value.items()}


def object_of(item: Item, path: str, conversion: Conversion) -> Any:
    """An object of a class, as ``{$object: …}``."""
    parts: Items = item.value
    written = parts[TYPE].text
    if written == "builtins.list" and "items" in parts:
        return value_of(parts["items"], path, conversion)
    name = object_name(written)
    permitted(name, "object", parts[TYPE], path, conversion)
    found: dict[str, Any] = {"$object": name}
    given = {
        key: value_of(below, f"{path}.{key}", conversion) for key, below in parts.items() if key not in (TYPE, ARGS)
    }
    if given:
        found["with"] = given
    if ARGS in parts:
        args = value_of(parts[ARGS], path, conversion)
        found["args"] = args if isinstance(args, list) else [args]
    return found


def type_of(item: Item) -> str | None:
    """The class that a value is an object of; ``None`` if it is none."""
    if isinstance(item.value, dict) and TYPE in item.value:
        return str(item.value[TYPE].plain)
    return None


def length_of(item: Item) -> dt.timedelta | None:
    """A duration: a ``timedelta``, a number of seconds, or dag-factory's `2 days`; ``None`` if it is none."""
    value = item.value
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return dt.timedelta(seconds=value)
    if isinstance(value, str):
        return relative(value)
    if type_of(item) != "datetime.timedelta":
        return None
    given = {key: below.value for key, below in value.items() if key not in (TYPE, ARGS)}
    args = value[ARGS].plain if ARGS in value else []
    try:
        return dt.timedelta(*args, **given)
    except (TypeError, OverflowError):
        return None


def relative(text: str) -> dt.timedelta | None:
    """dag-factory's lengths of time: `2 days`, of which it reads the first."""
    found = _RELATIVE.match(text.strip())
    return dt.timedelta(**{f"{found[2].lower()}s": int(found[1])}) if found else None


def duration_of(item: Item, path: str, conversion: Conversion) -> str | None:
    """A duration as a spec writes it; ``None``, and noted, if it is none."""
    length = length_of(item)
    if length is None or length < dt.timedelta():
        conversion.lost(item, path, "this is no duration", "write one, e.g. 5 min")
        return None
    return format_duration(length)
