"""A read file: its plain value, and where each part of it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

from tidemill.spec.errors import SpecError, dotted

_LINE_END: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what both YAML parsers count as one

Path = tuple[str | int, ...]
Place = tuple[int, int, int]
"""Line and column from 1, and a width in characters."""


class Mark(Protocol):
    """A position as YAML parsers give it: everything counts from 0, in characters."""

    @property
    def line(self) -> int:
        """The line, from 0."""

    @property
    def column(self) -> int:
        """The column, from 0."""


class Located(Protocol):
    """Anything with a start and an end in the file: a parser's event, or a `Branch`."""

    @property
    def start_mark(self) -> Any:
        """The `Mark` of its first character; PyYAML's types allow None, its parsers never give it."""

    @property
    def end_mark(self) -> Any:
        """The `Mark` behind its last character."""


Children = dict[str, Located] | list[Located]


class Branch:
    """The places of a mapping or list: its own, its keys' and its children's.

    A scalar's place is the parser's event itself, so that a file without mistakes pays for no conversion.
    """

    __slots__ = ("children", "end_mark", "flow", "is_map", "keys", "start_mark")

    def __init__(
        self,
        event: Located,
        flow: bool,
        keys: dict[str, Located],
        children: dict[str, Located] | list[Located],
    ) -> None:
        self.start_mark = event.start_mark
        self.end_mark = event.end_mark
        self.flow = flow
        self.is_map = isinstance(children, dict)
        self.keys = keys
        self.children = children

    def used_at(self, alias: Located) -> Branch:
        """The same keys and children under an alias: the whole is where the alias is, its parts are not."""
        return Branch(alias, True, self.keys, self.children)


class Text:
    """A file's name and text; the lines are cut when the first place in them is asked for."""

    def __init__(self, file: str, content: str) -> None:
        self.file = file
        self.content = content

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends, at least one."""
        return _LINE_END.split(self.content)

    def place_at(self, index: int) -> Place:
        """The place of the character at `index` of the text."""
        before = _LINE_END.split(self.content[:index])
        return len(before), len(before[-1]) + 1, 1

    def place(self, start: Mark, end: Mark | None = None) -> Place:
        """Line, column and width of a stretch, kept inside the file and inside its first line."""
        line, column = start.line, start.column
        last = len(self.lines) - 1
        while last > 0 and not self.lines[last].strip():
            last -= 1
        if line > last:
            line, column = last, len(self.lines[last].rstrip())
        text = self.lines[line]
        column = min(column, len(text))
        width = (end.column if end is not None and end.line == line else len(text.rstrip())) - column
        return line + 1, column + 1, max(1, width)

    def error(self, place: Place, path: Path, message: str, hint: str | None = None) -> SpecError:
        """An error at a place of this file."""
        line, column, length = place
        source = self.lines[line - 1] if line <= len(self.lines) else ""
        return SpecError(self.file, line, column, dotted(path), message, hint, length, source)


@dataclass(slots=True)
class Document:
    """One YAML mapping, as plain values with their places."""

    value: dict[str, Any]
    text: Text
    root: Branch = field(repr=False)

    @property
    def file(self) -> str:
        """The file's name, as given to the reader."""
        return self.text.file

    @property
    def lines(self) -> list[str]:
        """The file's lines, without their ends."""
        return self.text.lines

    def mark(self, path: Path, key: bool = False) -> Place:
        """Where the value at `path` is written, or with `key` its key.

        A path that does not exist gives the key of its nearest ancestor that does; an item of a list has
        no key, so its value stands in. What `<<` merged in is found where it was written.
        """
        node: Located = self.root
        label: Located | None = None
        for part in path:
            if not isinstance(node, Branch):
                key = True
                break
            children = node.children
            if isinstance(children, dict) and isinstance(part, str) and part in children:
                label, node = node.keys[part], children[part]
            elif isinstance(children, list) and isinstance(part, int) and 0 <= part < len(children):
                label, node = None, children[part]
            else:
                key = True
                break
        if label is not None and (key or _is_empty(node)):
            return self.text.place(label.start_mark, label.end_mark)
        return self._value_place(node)

    def error(self, path: Path, message: str, hint: str | None = None, key: bool = False) -> SpecError:
        """An error about the value at `path`, or with `key` about its key."""
        return self.text.error(self.mark(path, key), path, message, hint)

    def _value_place(self, node: Located) -> Place:
        place = node
        if isinstance(node, Branch) and not node.flow and node.keys:
            # A block mapping has no bracket to point at: its first own key stands for it.
            place = next(iter(node.keys.values()))
        return self.text.place(place.start_mark, place.end_mark)


def _is_empty(node: Located) -> bool:
    start, end = node.start_mark, node.end_mark
    return not isinstance(node, Branch) and (start.line, start.column) == (end.line, end.column)
