"""Terraform's language, written as ``terraform fmt`` would leave it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 100
"""Characters of a line up to which a list or an object stands on it."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Raw(str):
    """An expression, as it is written: ``var.region``."""


class Template(str):
    """A text in which ``${…}`` is an expression, unlike in a plain ``str``."""


Value = str | int | float | bool | None | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(frozen=True)
class Attribute:
    """``name = value``, below a comment and beside a note."""

    name: str
    value: Value
    comment: str = ""
    note: str = ""


@dataclass(frozen=True)
class Block:
    """``kind "label" … { body }``, below a comment."""

    kind: str
    labels: tuple[str, ...] = ()
    body: tuple[Attribute | Block, ...] = ()
    comment: str = ""


def document(items: Iterable[Block | Attribute]) -> str:
    """A file's text: attributes that belong together in lines without a gap, everything else apart."""
    return "".join(f"{line}\n" for line in _body(tuple(items), 0))


def identifier(text: str) -> str:
    """A name for Terraform of any text: lower-case letters, digits and ``_``, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"n_{plain}".rstrip("_")


def quoted(text: str) -> str:
    """A text in quotes, in which nothing is an expression."""
    plain = "".join(_ESCAPES.get(char) or (char if char.isprintable() else _unicode(char)) for char in text)
    return '"' + plain.replace("${", "$${").replace("%{", "%%{") + '"'


def _unicode(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def expression(value: Value, depth: int = 0) -> str:
    """A value in the language; what does not fit on a line goes over several, ``depth`` levels deep."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Template):
        return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return format(value, ".17g") if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return _object(value, depth)
    parts = [expression(item, depth + 1) for item in value]
    line = f"[{', '.join(parts)}]"
    if len(line) + 2 * depth <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"{'  ' * (depth + 1)}{part},\n" for part in parts)
    return f"[\n{inner}{'  ' * depth}]"


def _object(value: Mapping[str, Value], depth: int) -> str:
    if not value:
        return "{}"
    body = tuple(Attribute(key if _NAME.fullmatch(key) else quoted(key), item) for key, item in value.items())
    return "\n".join(["{", *_body(body, depth + 1), "  " * depth + "}"])


def _body(items: Sequence[Attribute | Block], depth: int) -> list[str]:
    lines: list[str] = []
    run: list[tuple[str, str, str]] = []
    pad = "  " * depth

    def flush() -> None:
        name_width = max((len(name) for name, _, _ in run), default=0)
        value_width = max((len(value) for _, value, _ in run), default=0)
        for name, value, note in run:
            line = f"{pad}{name.ljust(name_width)} = {value}"
            lines.append(f"{pad}{name.ljust(name_width)} = {value.ljust(value_width)} # {note}" if note else line)
        run.clear()

    for item in items:
        value = expression(item.value, depth) if isinstance(item, Attribute) else ""
        joins = isinstance(item, Attribute) and not item.comment and "\n" not in value
        if not joins:
            flush()
            if lines:
                lines.append("")
        elif lines and not run:
            lines.append("")
        if item.comment:
            lines += [f"{pad}# {text}".rstrip() for text in item.comment.splitlines()]
        if isinstance(item, Block):
            lines += _block(item, depth)
        elif "\n" in value:
            lines.append(f"{pad}{item.name} = {value}")
        else:
            run.append((item.name, value, item.note))
    flush()
    return lines


def _block(block: Block, depth: int) -> list[str]:
    pad = "  " * depth
    head = " ".join([block.kind, *map(quoted, block.labels)])
    if not block.body:
        return [f"{pad}{head} {{}}"]
    return [f"{pad}{head} {{", *_body(block.body, depth + 1), f"{pad}}}"]
