"""The params of a run or a task."""

from __future__ import annotations

from typing import Any

from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.values import ARGS, TYPE, type_of, value_of


def params_of(item: Item, path: str, conversion: Conversion) -> dict[str, Any]:
    """Name → default, or a JSON Schema with ``default``."""
    given: Items = item.value if isinstance(item.value, dict) else {}
    return {name: _param(below, f"{path}.{name}", conversion) for name, below in given.items()}


def _param(item: Item, path: str, conversion: Conversion) -> Any:
    if (type_of(item) or "").rpartition(".")[2] == "Param":
        parts: Items = item.value
        found = {k: value_of(v, f"{path}.{k}", conversion) for k, v in parts.items() if k not in (TYPE, ARGS)}
        args = parts[ARGS].value if ARGS in parts and isinstance(parts[ARGS].value, list) else []
        for key, below in zip(("default", "description"), args, strict=False):
            found.setdefault(key, value_of(below, f"{path}.{key}", conversion))
        schema = found.pop("schema", None)
        return {**found, **(schema if isinstance(schema, dict) else {})}
    value = value_of(item, path, conversion)
    # A mapping is a default of its own with dag-factory, and a schema in the language.
    return {"default": value} if isinstance(value, dict) else value
