"""Callbacks in all of dag-factory's forms."""

from __future__ import annotations

from typing import Any

from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import function_in_file, function_name, is_class, permitted
from tidemill.convert.values import TYPE, object_of, value_of

EVENTS = ("on_execute", "on_success", "on_failure", "on_retry", "on_skipped")


def callbacks_in(items: Items, path: str, conversion: Conversion) -> tuple[dict[str, Any], Items]:
    """The callbacks among some settings by the language's names, and the other settings."""
    rest = dict(items)
    found: dict[str, Any] = {}
    for event in EVENTS:
        key = f"{event}_callback"
        own, name, file = (rest.pop(k, None) for k in (key, f"{key}_name", f"{key}_file"))
        if own is not None and own.value is not None:
            made = _callbacks(own, f"{path}{key}", conversion)
            if made:
                found[event] = made[0] if len(made) == 1 else made
        if name is not None and file is not None and name.value is not None and file.value is not None:
            found[event] = {"callback": function_in_file(file, name, f"{path}{key}_file", conversion)}
    return found, rest


def _callbacks(item: Item, path: str, conversion: Conversion) -> list[dict[str, Any]]:
    several = item.value if isinstance(item.value, list) else [item]
    return [made for one in several if (made := _callback(one, path, conversion)) is not None]


def _callback(item: Item, path: str, conversion: Conversion) -> dict[str, Any] | None:
    if isinstance(item.value, str):
        return {"callback": function_name(item, path, conversion)}
    if isinstance(item.value, dict) and TYPE in item.value:
        made = object_of(item, path, conversion)
        return {"notifier": made["$object"], **({"with": made["with"]} if "with" in made else {})}
    named = item.value.get("callback") if isinstance(item.value, dict) else None
    if named is None or not isinstance(named.value, str):
        conversion.lost(item, path, "this names no callback", "a function's name, or `callback:` and its arguments")
        return None
    given = {k: value_of(v, f"{path}.{k}", conversion) for k, v in item.value.items() if k != "callback"}
    if is_class(named.value):
        permitted(named.value, "notifier", named, path, conversion)
        found = {"notifier": named.value}
    else:
        found = {"callback": function_name(named, path, conversion)}
    return {**found, **({"with": given} if given else {})}
