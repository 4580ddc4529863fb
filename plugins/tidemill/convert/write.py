"""Plain values as tidy YAML 1.2, with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.convert.source import scalar as older
from tidemill.spec.scalars import plain

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_/.$][^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]*|[0-9][A-Za-z0-9_ .:/+-]*")
_NOT_PLAIN = re.compile(r": |:$| #|\s$|^(?:---|\.\.\.)")
_FLOWING = re.compile(r"[,\[\]{}]")
"""What cannot stand in a text without quotes inside of brackets."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")

Comments = Mapping[tuple[str, ...], list[str]]


def to_yaml(value: Mapping[str, Any], comments: Comments, heading: list[str], apart: tuple[str, ...] = ()) -> str:
    """The text of a mapping. ``heading``: comments at the top; ``apart``: keys with an empty line before them."""
    lines = [f"# {line}".rstrip() for line in heading]
    for key, below in value.items():
        if key in apart:
            lines.append("")
        lines += _entry(key, below, (key,), 0, comments)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, path: tuple[str, ...], depth: int, comments: Comments) -> Iterator[str]:
    indent = "  " * depth
    for comment in comments.get(path, ()):
        yield f"{indent}# {comment}"
    yield from _value(f"{indent}{text(key)}:", value, path, depth + 1, comments)


def _value(head: str, value: Any, path: tuple[str, ...], depth: int, comments: Comments) -> Iterator[str]:
    flowing = "" if _commented(path, comments) or not _flows(value, path) else flow(value)
    if flowing and not isinstance(value, str) and len(head) + 1 + len(flowing) <= _WIDTH:
        yield f"{head} {flowing}"
    elif isinstance(value, Mapping) and value:
        yield head
        for key, below in value.items():
            yield from _entry(str(key), below, (*path, str(key)), depth, comments)
    elif isinstance(value, list) and value:
        yield head
        for index, below in enumerate(value):
            yield from _item(below, (*path, str(index)), depth, comments)
    elif isinstance(value, str) and (block := _block(value, depth)):
        yield f"{head} {block[0]}"
        yield from block[1:]
    else:
        yield f"{head} {text(value) if isinstance(value, str) else flow(value)}"


def _item(value: Any, path: tuple[str, ...], depth: int, comments: Comments) -> Iterator[str]:
    lines = list(_value("", value, path, depth + 1, comments))
    indent = "  " * depth
    if lines[0].strip():
        yield f"{indent}- {lines[0].strip()}"
        yield from lines[1:]
    else:  # a mapping or list: its first line stands behind the dash
        yield f"{indent}- {lines[1].strip()}" if not lines[1].lstrip().startswith("#") else f"{indent}-"
        yield from lines[2:] if not lines[1].lstrip().startswith("#") else lines[1:]


def _commented(path: tuple[str, ...], comments: Comments) -> bool:
    return any(len(at) > len(path) and at[: len(path)] == path for at in comments)


def _flows(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a value is small enough to stand on its key's line."""
    if isinstance(value, Mapping):
        shallow = all(not isinstance(v, Mapping) or "$object" not in v for v in value.values())
        return not value or (
            (len(path) != 1 or path[0] in ("schedule", "owner", "params", "defaults"))
            and (
                len(value) <= 4
                and shallow
                and all(_flows(v, (*path, k)) for k, v in value.items())
                and path[-1] != "steps"
                and not _is_step(path)
            )
        )
    if isinstance(value, list):
        return all(not isinstance(v, Mapping | list) for v in value) or (
            len(value) <= 2 and all(_flows(v, (*path, "-")) for v in value)
        )
    return not (isinstance(value, str) and "\n" in value)


def _is_step(path: tuple[str, ...]) -> bool:
    return len(path) > 1 and path[-2] == "steps"


def _block(value: str, depth: int) -> list[str] | None:
    """A text of several lines as a block, if it can be one as it is."""
    if "\n" not in value:
        return None
    kept = value.endswith("\n")
    lines = value.removesuffix("\n").split("\n")
    fits = lines[0][:1] not in ("", " ") and lines[-1].strip() and not any(map(_UNPRINTABLE.search, lines))
    if not fits or any(line != line.rstrip() for line in lines):
        return None
    return ["|" if kept else "|-", *(f"{'  ' * depth}{line}".rstrip() for line in lines)]


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text(str(key), inside=True)}: {flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return text(value, inside=True)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(str(value), repr(value))
    return str(value)


def text(value: str, *, inside: bool = False) -> str:
    """A text, in quotes where a reader of YAML 1.1 or 1.2 would take it for something else. ``inside``: of brackets."""
    is_plain = _PLAIN.fullmatch(value) and not _NOT_PLAIN.search(value) and not (inside and _FLOWING.search(value))
    if is_plain and "{{" not in value and _reads_as(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _reads_as(value: str) -> bool:
    try:
        return plain(value) == value and (older(value) == value or _is_date(value))
    except ValueError:
        return False


def _is_date(value: str) -> bool:
    """Dates stand without quotes, as in every spec."""
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None


__all__ = ["flow", "text", "to_yaml"]
