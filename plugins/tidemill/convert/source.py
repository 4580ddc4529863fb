"""dag-factory's files: read by Tidemill's own reader, with the scalars of YAML 1.1, which dag-factory reads."""

from __future__ import annotations

import datetime as dt
from errno import ENOENT
from pathlib import Path
from typing import Any

from yaml.constructor import ConstructorError, SafeConstructor
from yaml.events import ScalarEvent, SequenceStartEvent
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from tidemill.convert.model import Item, Items
from tidemill.spec import syntax
from tidemill.spec.document import Branch, Document
from tidemill.spec.reader import MAX_BYTES, _Reader, content_of

_LISTS = {"!join": "__join__", "!and": "__and__", "!or": "__or__"}
"""Tags of lists that dag-factory 0.x knew, as it writes them now."""
_NAME = "tag:yaml.org,2002:python/name:"
"""A function's name as a tag: it is read as the text it is."""


def load(file: Path, shown: str) -> Items:
    """The values of a file with their places, nothing merged yet.

    Raises:
        SpecErrors: it is no YAML that can be read safely.
        OSError: it cannot be opened.
    """
    if not file.is_file():
        raise FileNotFoundError(ENOENT, "no such file")
    reader = _SourceReader(syntax.decode(content_of(file), shown, MAX_BYTES))
    document = reader.read()
    found: Items = _item(document.value, document.root, document, reader.marked, document.root).value
    return found


class _SourceReader(_Reader):
    """Tidemill's reader, with the few tags that dag-factory's own files have; every other one is still refused."""

    def __init__(self, text: Any) -> None:
        super().__init__(text)
        self.marked: dict[int, str] = {}

    def sequence_start(self, event: SequenceStartEvent) -> None:
        """A list, or one of dag-factory's expressions."""
        mark = _LISTS.get(event.tag or "")
        if mark is not None:
            event.tag = None
        super().sequence_start(event)
        if mark is not None:
            self.marked[id(self.stack[-1].branch)] = mark

    def scalar(self, event: ScalarEvent) -> None:
        """A scalar; a function's name in a tag is the text of that name."""
        if event.tag is not None and event.tag.startswith(_NAME) and not event.value:
            event.value, event.tag, event.implicit = event.tag.removeprefix(_NAME), None, (False, True)
        super().scalar(event)


def _item(value: Any, node: Any, document: Document, marked: dict[int, str], place: Any) -> Item:
    line, column, _ = document.text.place(place.start_mark)

    def here(value: Any) -> Item:
        return Item(value, document.file, line, column)

    if not isinstance(node, Branch):
        is_plain = isinstance(node, ScalarEvent) and node.implicit[0] and node.tag is None
        return here(scalar(node.value) if is_plain else value)
    if isinstance(node.children, dict):
        children = node.children
        return here(
            {key: _item(below, children[key], document, marked, node.keys[key]) for key, below in value.items()}
        )
    items = [_item(below, node.children[i], document, marked, node.children[i]) for i, below in enumerate(value)]
    mark = marked.get(id(node))
    return here({mark: here(items)}) if mark is not None else here(items)


def scalar(text: str) -> Any:
    """What YAML 1.1 reads in an unquoted word: ``no`` is false, ``2024-01-01`` a date, ``1:30`` ninety."""
    tag = _RESOLVER.resolve(ScalarNode, text, (True, False))
    try:
        found = SafeConstructor().construct_object(ScalarNode(tag, text))
    except (ConstructorError, ValueError, OverflowError):
        return text
    return found if isinstance(found, str | int | float | bool | dt.date | None) else text


_RESOLVER: Any = Resolver()


def merged(over: Items, base: Items) -> Items:
    """``base`` below ``over``, as dag-factory merges: mappings key by key, everything else is replaced."""
    found = dict(over)
    for key, below in base.items():
        own = found.get(key)
        if own is None:
            found[key] = below
        elif isinstance(own.value, dict) and isinstance(below.value, dict):
            found[key] = own.at(merged(own.value, below.value))
    return found


def joined(item: Item) -> Item:
    """The value with the texts of ``__join__`` put together."""
    if isinstance(item.value, list):
        return item.at([joined(below) for below in item.value])
    if not isinstance(item.value, dict):
        return item
    parts = item.value.get("__join__")
    if parts is not None and isinstance(parts.value, list):
        return item.at("".join(str(joined(part).plain) for part in parts.value))
    return item.at({key: joined(below) for key, below in item.value.items()})


__all__ = ["joined", "load", "merged", "scalar"]
