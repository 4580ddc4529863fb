"""What the parts of the conversion share: values with their places, and what is noted on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.checks.allowed import Use
from tidemill.project import Project


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a source file and where it is written; that of a key's value is the key's place.

    ``value``: a scalar as YAML 1.1 reads it, ``dict[str, Item]`` or ``list[Item]``.
    """

    value: Any
    file: str = ""
    line: int = 1
    column: int = 1

    def at(self, value: Any) -> Item:
        """Another value at the same place."""
        return Item(value, self.file, self.line, self.column)

    def get(self, key: str) -> Any:
        """The value below a key, without places; ``None`` if there is none."""
        below = self.value.get(key) if isinstance(self.value, dict) else None
        return below.plain if below is not None else None

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: below.plain for key, below in self.value.items()}
        return [below.plain for below in self.value] if isinstance(self.value, list) else self.value

    @property
    def text(self) -> str:
        """The value as text, whatever it is."""
        return str(self.plain)


Items = dict[str, Item]


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader must know about a place of the source. ``lost``: it was not carried over as it stands."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    lost: bool = True


@dataclass
class Conversion:
    """What one DAG is converted with, and what came of it so far.

    ``folder``: where its source file stands; ``home``: the DAG folder of that file, whose modules Airflow finds;
    ``allow``: the names that the setting `allow` must hold for the converted spec; ``comments``: path in the spec →
    lines written above it.
    """

    folder: Path
    home: Path
    project: Project
    notes: list[Note] = field(default_factory=list)
    allow: dict[str, None] = field(default_factory=dict)
    comments: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def lost(self, item: Item, path: str, message: str, hint: str = "") -> None:
        """Note that something was not carried over."""
        self._note(Note(item.file, item.line, item.column, path, message, hint))

    def told(self, item: Item, path: str, message: str, hint: str = "") -> None:
        """Note something that is worth knowing; nothing was lost."""
        self._note(Note(item.file, item.line, item.column, path, message, hint, lost=False))

    def comment(self, path: tuple[str, ...], text: str) -> None:
        """Write a comment above a key of the spec."""
        lines = self.comments.setdefault(path, [])
        if text not in lines:
            lines.append(text)

    def prepare(self, names: Iterable[tuple[str, Use]]) -> None:
        """Look at many names at once, which takes one process instead of many."""
        self._lookup.prepare(names)

    def look(self, name: str, use: Use) -> Any:
        """The signature of a class or function by name; a ``SignatureProblem`` if specs may not name it."""
        return self._lookup(name, use)

    @cached_property
    def _lookup(self) -> Any:
        from tidemill.checks.signatures import Lookup

        return Lookup(self.project)

    def _note(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)


@dataclass(frozen=True)
class Converted:
    """The spec made of one DAG. ``errors``: what the checks find wrong with it, but for names that need ``allow``."""

    dag_id: str
    file: Path
    text: str
    spec: Mapping[str, Any]
    notes: tuple[Note, ...]
    allow: tuple[str, ...]
    errors: tuple[Any, ...] = ()
