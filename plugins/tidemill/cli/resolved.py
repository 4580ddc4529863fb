"""``tidemill show --resolved``: a spec after inheritance, templates and references, with the origin of every value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tidemill.cli.locate import UsageProblem, existing, place_of
from tidemill.spec.document import Path as Keys
from tidemill.spec.errors import SpecErrors, dotted, printable
from tidemill.spec.layers import Spot
from tidemill.spec.load import Sources, load_pipelines, values_of
from tidemill.spec.models import Spec
from tidemill.spec.scalars import plain
from tidemill.spec.section import keys_of

_WIDEST = 60
"""Columns after which an origin no longer keeps to the others' column."""
_PLAIN = re.compile(r"[A-Za-z_/.][\w./:@+-]*(?: [\w./:@+-]+)*")


def resolve(path: Path, row: str | None = None) -> Sources:
    """What one pipeline of a spec file is made of. It may have mistakes, but for those that keep it from being known.

    Raises:
        SpecErrors: it cannot be known.
        UsageProblem: there is no such file or row, or the file has a matrix and no row is named.
    """
    file, place = existing(path).resolve(), place_of(path)
    if file.is_dir():
        raise UsageProblem(f"{path} is a folder; name one spec file in it")
    found = load_pipelines(file, place.dags, place.project.root)
    rows = found.rows or ()
    if row is None and rows:
        message = f"{path} makes a pipeline for each row of its matrix; say which with --row; its rows: "
        raise UsageProblem(message + ", ".join(rows[:20]) + (", …" if len(rows) > 20 else ""))
    if row is not None and row not in rows:
        raise UsageProblem(f'{path} has no row "{row}"')
    sources = found.sources(row)
    if sources.problems:
        raise SpecErrors(sources.problems)
    return sources


def as_yaml(sources: Sources) -> str:
    """The values as YAML, each with the file and line it comes from as a comment."""
    lines = list(_mapping(sources, _in_order(values_of(sources)), (), 0))
    width = max((len(text) for text, spot in lines if spot is not None and len(text) <= _WIDEST), default=0)
    return "".join(f"{text.ljust(width)}  # {_origin(spot)}\n" if spot else f"{text}\n" for text, spot in lines)


def as_json(sources: Sources) -> dict[str, Any]:
    """The values, and the origin of each by its path, for machines."""
    values = values_of(sources)
    origins = {}
    for path in _leaves(values, ()):
        spot = _spot(sources, path)
        line, column, _ = spot.mark
        origins[dotted(path)] = {"file": spot.document.file, "line": line, "column": column, "note": spot.note}
    return {"file": sources.file, "row": sources.row, "spec": values, "origins": origins}


def _in_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections in the language's order; unknown ones last."""
    order = {name: index for index, name in enumerate(keys_of(Spec))}
    return {name: values[name] for name in sorted(values, key=lambda name: order.get(name, len(order)))}


def _spot(sources: Sources, path: Keys) -> Spot:
    return sources.stack.holder(path).origin(path)


def _origin(spot: Spot) -> str:
    return f"{spot.document.file}:{spot.mark[0]}" + (f", {spot.note}" if spot.note else "")


def _leaves(value: Any, path: Keys) -> Iterator[Keys]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from _leaves(below, (*path, index))
    else:
        yield path


Line = tuple[str, Spot | None]


def _mapping(sources: Sources, values: Mapping[str, Any], path: Keys, depth: int) -> Iterator[Line]:
    for key, value in values.items():
        yield from _value(sources, value, (*path, key), f"{'  ' * depth}{_scalar(key)}:", depth)


def _value(sources: Sources, value: Any, path: Keys, head: str, depth: int) -> Iterator[Line]:
    if isinstance(value, Mapping) and value:
        yield head, None
        yield from _mapping(sources, value, path, depth + 1)
    elif isinstance(value, list) and value:
        spots = [_spot(sources, (*path, index)) for index in range(len(value))]
        simple = not any(isinstance(item, Mapping | list) for item in value)
        if simple and len({(spot.document.file, spot.mark[0], spot.note) for spot in spots}) == 1:
            yield f"{head} [{', '.join(map(_scalar, value))}]", spots[0]
            return
        yield head, None
        for index, item in enumerate(value):
            yield from _item(sources, item, (*path, index), depth + 1)
    elif isinstance(value, str) and "\n" in value and (block := _block(value, depth + 1)):
        yield f"{head} {block[0]}", _spot(sources, path)
        yield from ((line, None) for line in block[1:])
    else:
        yield f"{head} {_scalar(value)}", _spot(sources, path)


def _item(sources: Sources, item: Any, path: Keys, depth: int) -> Iterator[Line]:
    """An item of a list; of a mapping or list, the dash stands on a line of its own."""
    indent = "  " * depth
    if isinstance(item, Mapping) and item:
        yield f"{indent}-", None
        yield from _mapping(sources, item, path, depth + 1)
    elif isinstance(item, list) and item:
        yield f"{indent}-", None
        for index, below in enumerate(item):
            yield from _item(sources, below, (*path, index), depth + 1)
    else:
        yield f"{indent}- {_scalar(item)}", _spot(sources, path)


def _block(text: str, depth: int) -> list[str] | None:
    """A text of several lines as a block, if it can be one as it is."""
    lines = text.removesuffix("\n").split("\n")
    ends_plain = not text.endswith("\n\n") and text != "\n"
    if not ends_plain or lines[0][:1] in ("", " ") or not all(line.isprintable() for line in lines):
        return None
    return (
        ["|" if text.endswith("\n") else "|-", *(f"{'  ' * depth}{line}".rstrip(" ") for line in lines)]
        if all(line == line.rstrip(" ") for line in lines)
        else None
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and _is_text(value)
        return value if is_plain else printable(json.dumps(value, ensure_ascii=False))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(str(value), str(value))
    return str(value) if isinstance(value, int) else "{}" if isinstance(value, Mapping) else "[]"


def _is_text(value: str) -> bool:
    """Whether a plain scalar is read as the text it is."""
    try:
        return plain(value) == value and not value.endswith(":") and ": " not in value
    except ValueError:
        return False
