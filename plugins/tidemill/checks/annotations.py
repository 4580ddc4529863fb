"""Python's annotations in a small language of JSON, and values of a spec judged by it.

A type is ``{"type": NAME}`` with NAME one of any, text, integer, number, boolean, none, duration, instant, callable,
list (``of``: a type), mapping (``of``: the values' type), choice (``values``), union (``of``: types). What is none of
these, an object of some class for example, is ``any``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

Annotation = dict[str, Any]

ANY: Annotation = {"type": "any"}
_SIMPLE = {
    "str": "text",
    "AnyStr": "text",
    "Path": "text",
    "PathLike": "text",
    "StrPath": "text",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "timedelta": "duration",
    "relativedelta": "duration",
    "datetime": "instant",
    "DateTime": "instant",
    "Callable": "callable",
    "list": "list",
    "List": "list",
    "dict": "mapping",
    "Dict": "mapping",
    "Mapping": "mapping",
    "MutableMapping": "mapping",
    "None": "none",
    "NoneType": "none",
}
_LISTS = frozenset((
    "list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "Container", "set", "Set",
    "frozenset", "FrozenSet", "tuple", "Tuple",
))  # fmt: skip
_MAPPINGS = frozenset(("dict", "Dict", "Mapping", "MutableMapping"))
_TRANSPARENT = frozenset(("Annotated", "Final", "ClassVar", "Required", "NotRequired"))
_MAX_TEXT = 2_000


def from_text(text: str) -> Annotation:
    """The type that an annotation's source text says; ``any`` for what cannot be read."""
    if len(text) > _MAX_TEXT:
        return ANY
    try:
        return from_node(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return ANY


def from_node(node: ast.expr | None) -> Annotation:
    """The type that an annotation says."""
    match node:
        case ast.Constant(value=None):
            return {"type": "none"}
        case ast.Constant(value=str(text)):
            return from_text(text)
        case ast.BinOp(op=ast.BitOr()):
            return _union(map(from_node, _alternatives(node)))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return {"type": _SIMPLE[name]} if name in _SIMPLE else {"type": "list"} if name in _LISTS else ANY
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inside):
            items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return _generic(name, items)
    return ANY


def optional(kind: Annotation) -> Annotation:
    """The type, or nothing."""
    return _union([kind, {"type": "none"}])


def is_optional(kind: Annotation) -> bool:
    """Whether a type takes nothing as a value."""
    return kind["type"] in ("any", "none") or (kind["type"] == "union" and any(map(is_optional, kind["of"])))


def members(kind: Annotation) -> list[Annotation]:
    """The types of which a value need match only one."""
    return [*kind["of"]] if kind["type"] == "union" else [kind]


def described(kind: Annotation) -> str:
    """A type in words, for messages."""
    match kind["type"]:
        case "union":
            words = [described(one) for one in kind["of"] if one["type"] != "none"]
            return " or ".join(dict.fromkeys(words)) or "nothing"
        case "list":
            return f"a list of {described(kind['of'])}" if "of" in kind else "a list"
        case "choice":
            return "one of " + ", ".join(_shown(value) for value in kind["values"])
    return _WORDS[kind["type"]]


_WORDS = {
    "any": "anything",
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "none": "nothing",
    "mapping": "a mapping",
    "duration": "a duration such as 15 min",
    "instant": "an instant such as 2013-07-01T06:00",
    "callable": "a function such as include.flows.tasks:clean",
}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _generic(name: str, items: list[ast.expr]) -> Annotation:
    if name == "Optional":
        return optional(from_node(items[0]))
    if name == "Union":
        return _union(map(from_node, [one for item in items for one in _alternatives(item)]))
    if name in _TRANSPARENT:
        return from_node(items[0])
    if name == "Literal":
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        plain = [value for value in values if isinstance(value, str | int | bool)]
        known: Annotation = {"type": "choice", "values": plain} if len(plain) == len(items) else ANY
        return optional({"type": "choice", "values": plain}) if None in values and plain else known
    if name in _MAPPINGS:
        of = from_node(items[1]) if len(items) == 2 else ANY
        return {"type": "mapping"} if of == ANY else {"type": "mapping", "of": of}
    if name in _LISTS:
        same = len(items) == 1 or (len(items) == 2 and isinstance(items[1], ast.Constant))
        of = from_node(items[0]) if same else ANY
        return {"type": "list"} if of == ANY else {"type": "list", "of": of}
    return {"type": "callable"} if name == "Callable" else ANY


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """The types of ``A | B | C``, without Airflow's mark for what was left out."""
    found: list[ast.expr] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.BinOp) and isinstance(one.op, ast.BitOr):
            waiting += [one.right, one.left]
        elif not (isinstance(one, ast.Name) and one.id == "ArgNotSet"):
            found.append(one)
    return found


def _union(kinds: Iterable[Annotation]) -> Annotation:
    flat: list[Annotation] = []
    for kind in kinds:
        flat += [one for one in members(kind) if one not in flat]
    if ANY in flat or not flat:
        return ANY
    return flat[0] if len(flat) == 1 else {"type": "union", "of": flat}
