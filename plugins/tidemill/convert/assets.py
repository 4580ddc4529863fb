"""Datasets and assets: lists, objects, expressions, and files that name them."""

from __future__ import annotations

import re
from typing import Any

from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import expanded, object_name, permitted
from tidemill.convert.values import ARGS, TYPE, text_of, type_of, value_of
from tidemill.spec.errors import SpecErrors

_ASSETS = frozenset({"Asset", "Dataset"})
_ALIASES = frozenset({"AssetAlias", "DatasetAlias"})
_EXPRESSIONS = {"AssetAll": "all", "DatasetAll": "all", "AssetAny": "any", "DatasetAny": "any"}
_SIGNS = {"__and__": "all", "and": "all", "__or__": "any", "or": "any"}
_TOKEN = re.compile(r"\s*([()&|]|[^\s()&|]+)")
_MAX_TOKENS = 2_000
_MAX_DEPTH = 40


def is_asset(item: Item) -> bool:
    """Whether a value is an asset, an alias or an expression of them."""
    name = (type_of(item) or "").rpartition(".")[2]
    known = name in _ASSETS or name in _ALIASES or name in _EXPRESSIONS
    return known or (isinstance(item.value, dict) and not _SIGNS.keys().isdisjoint(item.value))


def asset_of(item: Item, path: str, conversion: Conversion) -> Any:
    """The language's form of an asset, an alias or an expression; ``None``, and noted, if it is none."""
    if isinstance(item.value, str):
        return text_of(item.at(item.value.strip()), path, conversion)
    if isinstance(item.value, dict):
        for sign, word in _SIGNS.items():
            if sign in item.value and isinstance(item.value[sign].value, list):
                return _chain(word, _each(item.value[sign].value, path, conversion))
    kind = (type_of(item) or "").rpartition(".")[2]
    if kind in _EXPRESSIONS:
        parts = item.value[ARGS].value if ARGS in item.value else []
        return {_EXPRESSIONS[kind]: _each(parts, path, conversion)}
    if kind in _ALIASES:
        given = _given(item.value, ("name", "group"))
        found = {"alias": text_of(given["name"], path, conversion)} if "name" in given else {}
        return found | ({"group": given["group"].text} if "group" in given else {})
    if kind in _ASSETS:
        return _asset(item, path, conversion)
    conversion.lost(item, path, "this is no asset", "name it, or write its URI")
    return None


def _each(items: list[Item], path: str, conversion: Conversion) -> list[Any]:
    found = (asset_of(part, f"{path}[{index}]", conversion) for index, part in enumerate(items))
    return [part for part in found if part is not None]


def _chain(word: str, parts: list[Any]) -> Any:
    """Parts put together one after the other, as Airflow's ``&`` and ``|`` do: only the left one is flattened."""
    if len(parts) < 2:
        return parts[0] if parts else None
    found = parts[0]
    for part in parts[1:]:
        found = {word: [*(found[word] if isinstance(found, dict) and word in found else [found]), part]}
    return found


def _asset(item: Item, path: str, conversion: Conversion) -> Any:
    order = ("uri", "extra") if str(type_of(item)).endswith("Dataset") else ("name", "uri")
    given = _given(item.value, order)
    found: dict[str, Any] = {}
    for key in ("name", "uri", "group"):
        if key in given and given[key].value is not None:
            found[key] = text_of(given[key], f"{path}.{key}", conversion)
    if "extra" in given:
        found["extra"] = value_of(given["extra"], f"{path}.extra", conversion)
    if "watchers" in given:
        watchers = given["watchers"].value if isinstance(given["watchers"].value, list) else []
        found["watch"] = [_watcher(one, f"{path}.watchers", conversion) for one in watchers]
    if len(found) == 1:
        (key, value), *_ = found.items()
        if key in ("name", "uri") and ("://" in value) == (key == "uri"):
            return value
    return found


def _watcher(item: Item, path: str, conversion: Conversion) -> dict[str, Any]:
    given: Items = item.value if isinstance(item.value, dict) else {}
    trigger = given.get("trigger", item.at({}))
    name = object_name(type_of(trigger) or "")
    if not name:
        conversion.lost(trigger, path, "the watcher has no trigger class", "write `trigger:` with its module")
    else:
        permitted(name, "trigger", trigger, path, conversion)
    below: Items = trigger.value if isinstance(trigger.value, dict) else {}
    arguments = {key: value_of(value, path, conversion) for key, value in below.items() if key not in (TYPE, ARGS)}
    return {"name": given["name"].text if "name" in given else "watcher", "trigger": name} | (
        {"with": arguments} if arguments else {}
    )


def _given(parts: Items, order: tuple[str, ...]) -> Items:
    """Arguments by name, those by position included."""
    args = parts[ARGS].value if ARGS in parts and isinstance(parts[ARGS].value, list) else []
    return {**dict(zip(order, args, strict=False)), **{k: v for k, v in parts.items() if k not in (TYPE, ARGS)}}


def condition_of(item: Item, path: str, conversion: Conversion, known: dict[str, str] | None = None) -> Any:
    """The expression that a text says: ``(a & b) | c``. ``known``: name → URI, of a file of datasets."""
    tokens = _TOKEN.findall(item.text)
    if not tokens or len(tokens) > _MAX_TOKENS:
        conversion.lost(item, path, "this is no condition over datasets", "e.g. a & (b | c)")
        return None
    try:
        found, rest = _any(tokens, 0, known)
    except (ValueError, IndexError):
        found, rest = None, 0
    if rest < len(tokens) or found is None:
        conversion.lost(item, path, f"this is no condition over datasets: {item.value!s:.80}", "e.g. a & (b | c)")
        return None
    return found


def _any(tokens: list[str], depth: int, known: dict[str, str] | None, at: int = 0) -> tuple[Any, int]:
    found, at = _all(tokens, depth, known, at)
    parts = [found]
    while at < len(tokens) and tokens[at] == "|":
        part, at = _all(tokens, depth, known, at + 1)
        parts.append(part)
    return _chain("any", parts), at


def _all(tokens: list[str], depth: int, known: dict[str, str] | None, at: int) -> tuple[Any, int]:
    found, at = _one(tokens, depth, known, at)
    parts = [found]
    while at < len(tokens) and tokens[at] == "&":
        part, at = _one(tokens, depth, known, at + 1)
        parts.append(part)
    return _chain("all", parts), at


def _one(tokens: list[str], depth: int, known: dict[str, str] | None, at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "(":
        if depth >= _MAX_DEPTH:
            raise ValueError("nested too deeply")
        found, at = _any(tokens, depth + 1, known, at + 1)
        if tokens[at] != ")":
            raise ValueError("a parenthesis is not closed")
        return found, at + 1
    if token in ")&|":
        raise ValueError("a name is missing")
    if known is not None and token not in known:
        raise ValueError("an unknown name")
    return (known[token] if known is not None else token), at + 1


def uris_of(item: Item, path: str, conversion: Conversion) -> dict[str, str] | None:
    """The datasets that a file names: name → URI. ``None``, and noted, if it cannot be read."""
    from tidemill.convert.source import load

    file = conversion.folder / expanded(item.text)
    try:
        read = load(file, item.text)
    except (SpecErrors, OSError) as e:
        reason = f"line {e.errors[0].line}: {e.errors[0].message}" if isinstance(e, SpecErrors) else e.strerror
        hint = "set the environment's variables in its path and convert again, or list the assets"
        conversion.lost(item, path, f"the file of datasets, {item.text}, cannot be read: {reason}", hint)
        return None
    listed = read["datasets"].value if "datasets" in read and isinstance(read["datasets"].value, list) else []
    return {str(one.get("name")): str(one.get("uri")) for one in listed if one.get("name") and one.get("uri")}


def listed(item: Item, path: str, conversion: Conversion) -> list[Any]:
    """The assets of ``inlets`` or ``outlets``."""
    value = item.value
    if isinstance(value, dict) and "file" in value and "datasets" in value:
        known = uris_of(value["file"], path, conversion) or {}
        names = value["datasets"].plain
        return [uri for name, uri in known.items() if name in names]
    items = value if isinstance(value, list) else [item]
    if type_of(item) == "builtins.list":
        items = value["items"].value
    return _each([one for one in items if one.value is not None], path, conversion)
