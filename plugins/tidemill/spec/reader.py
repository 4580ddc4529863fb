"""YAML bytes to plain values with their places, in one pass over the parser's events.

Nothing is composed or constructed by PyYAML: limits are checked as events arrive, so that no input, however
nested or multiplied by aliases, costs more than reading it once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any, Final, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from tidemill.spec import scalars, syntax
from tidemill.spec.document import Branch, Document, Located, Path, Text
from tidemill.spec.errors import MAX_ERRORS, SpecError, SpecErrors, is_visible, printable, suggest

try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # PyYAML built without libyaml: slower, the same events
    from tidemill.spec.pure import PureParser as _Parser  # type: ignore[assignment]

__all__ = ["Document", "content_of", "read"]

MAX_BYTES: Final = 1024 * 1024
MAX_SCALAR: Final = 64 * 1024
MAX_DEPTH: Final = 64
MAX_ALIASES: Final = 200
MAX_NODES: Final = 100_000

_OPEN: Final = object()
"""Stands for an anchored collection that is not yet closed."""
_NO_KEY: Final = object()
"""Stands for a key that was refused: what belongs to it is read and dropped."""
_MERGE: Final = object()
"""Stands for the key `<<`."""
_BAD: Final = object()
"""Stands for the value of a refused alias."""
_MAP_TAG: Final = "tag:yaml.org,2002:map"
_SEQ_TAG: Final = "tag:yaml.org,2002:seq"
_TAG: Final = re.compile(r"![^\s,\[\]{}]*")  # a tag as it is written; an anchor may stand before it


def read(data: bytes, file: str) -> Document:
    """Read one YAML 1.2 mapping.

    `file` is the name that errors carry. Raises SpecErrors with every mistake that could be found; one that
    makes the rest unreadable ends the search.
    """
    return _Reader(syntax.decode(data, file, MAX_BYTES)).read()


def content_of(path: FilePath) -> bytes:
    """A file's content, of one that is too large no more than shows that it is: what is read may be anybody's.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


class _Stop(Exception):
    """Reading cannot go on; what is wrong is already noted."""


class _Frame:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "before", "branch", "height", "is_key", "key", "key_event", "merges", "value")

    def __init__(self, branch: Branch, value: Any, is_key: bool, anchor: str | None, before: int) -> None:
        self.branch = branch
        self.value = value
        self.is_key = is_key  # the collection itself stands where a key should
        self.anchor = anchor
        self.before = before  # nodes read before it
        self.height = 1
        self.key: Any = None  # the key whose value comes next
        self.key_event: Any = None
        self.merges: list[tuple[Any, Any]] | None = None


class _Reader:
    def __init__(self, text: Text) -> None:
        self.text = text
        self.errors: list[SpecError] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Any] = {}
        self.aliases = 0
        self.nodes = 0
        self.documents = 0
        self.root: tuple[Any, Located] | None = None

    def read(self) -> Document:
        handlers: dict[type[Event], Callable[[Any], None]] = {
            ScalarEvent: self.scalar,
            MappingStartEvent: self.mapping_start,
            MappingEndEvent: self.collection_end,
            SequenceStartEvent: self.sequence_start,
            SequenceEndEvent: self.collection_end,
            AliasEvent: self.alias,
            DocumentStartEvent: self.document_start,
        }
        try:
            next_event = _Parser(self.text.content).get_event
            while (event := next_event()) is not None:
                if handler := handlers.get(type(event)):
                    handler(event)
            self.check_root()
        except yaml.YAMLError as error:
            self.errors.append(syntax.explain(error, self.text))
        except _Stop:
            pass
        if self.errors:
            raise SpecErrors(self.errors)
        assert self.root is not None
        value, branch = self.root
        assert isinstance(branch, Branch)
        return Document(value, self.text, branch)

    # What the events do

    def document_start(self, event: DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self.fail(event, "a second document starts here", "move it to a file of its own")
        if event.version and event.version != (1, 2):
            self.note(event, "this file declares another YAML than 1.2", "remove the %YAML line")

    def scalar(self, event: ScalarEvent) -> None:
        self.count(1, event)
        value: Any = event.value
        try:
            if event.tag is not None:
                value = self.tagged(event)
            elif event.implicit[0]:
                value = scalars.plain(event.value)
        except ValueError as problem:
            self.note(event, str(problem), "put it in quotes to keep it as text")
        if len(event.value) > MAX_SCALAR or not event.value.isprintable():
            self.check_text(event)
        if event.anchor is not None:
            self.anchor(event, event.anchor, (value, event, 1, 0))
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.branch.is_map and frame.key is None:
            self.key(frame, event, value)
        else:
            self.add(value, event)

    def mapping_start(self, event: MappingStartEvent) -> None:
        children: dict[str, Located] = {}
        self.collection_start(event, _MAP_TAG, {}, Branch(event, bool(event.flow_style), {}, children))

    def sequence_start(self, event: SequenceStartEvent) -> None:
        items: list[Located] = []
        self.collection_start(event, _SEQ_TAG, [], Branch(event, bool(event.flow_style), {}, items))

    def collection_start(self, event: Any, tag: str, value: Any, branch: Branch) -> None:
        self.count(1, event)
        if event.tag is not None and event.tag != tag:
            self.note_tag(event)
        parent = self.stack[-1] if self.stack else None
        is_key = parent is not None and parent.branch.is_map and parent.key is None
        if is_key:
            self.note(event, "a key must be text, not a mapping or a list", self.complex_key_hint(event))
        if len(self.stack) >= MAX_DEPTH:
            self.fail(event, f"this is nested more than {MAX_DEPTH} deep", "write it flatter")
        if event.anchor is not None:
            self.anchor(event, event.anchor, _OPEN)
        self.stack.append(_Frame(branch, value, is_key, event.anchor, self.nodes))

    def collection_end(self, event: MappingEndEvent | SequenceEndEvent) -> None:
        frame = self.stack.pop()
        branch = frame.branch
        if branch.flow:
            branch.end_mark = event.end_mark
        if frame.merges is not None:
            self.merge(frame)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.value, branch, self.nodes - frame.before + 1, frame.height)
        if self.stack:
            parent = self.stack[-1]
            parent.height = max(parent.height, frame.height + 1)
            if frame.is_key:
                parent.key = _NO_KEY
                return
        self.add(frame.value, branch)

    def alias(self, event: AliasEvent) -> None:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self.fail(event, f"more than {MAX_ALIASES} aliases", "write the values out")
        value, node, size, height = self.resolve(event)
        self.count(size, event)
        if len(self.stack) + height > MAX_DEPTH:
            self.fail(event, f"this alias nests more than {MAX_DEPTH} deep", "write it flatter")
        if isinstance(node, Branch):
            # Each use is a value of its own, so that changing one never changes another.
            value = _copy(value)
            node = node.used_at(event)
        frame = self.stack[-1] if self.stack else None
        if frame is not None:
            frame.height = max(frame.height, height + 1)
        if frame is not None and frame.branch.is_map and frame.key is None:
            self.key(frame, event, value)
        else:
            self.add(value, event if node is None or not isinstance(node, Branch) else node)

    # Building

    def key(self, frame: _Frame, event: Any, value: Any) -> None:
        frame.key_event = event
        frame.key = _NO_KEY
        if type(value) is not str:
            if value is not _BAD:
                word = _short(event.value) if type(event) is ScalarEvent else ""
                hint = f'put it in quotes: "{word}"' if word else "write a key before the colon"
                self.note(event, "a key must be text", hint)
        elif value == "<<" and type(event) is ScalarEvent and event.implicit[0]:
            if frame.merges is None:
                frame.merges = []
                frame.key = _MERGE
            else:
                self.note(event, 'duplicate key "<<"', "merge several with a list: <<: [*a, *b]", key="<<")
        elif not value:
            self.note(event, "a key is empty", "write a key before the colon")
        elif not is_visible(value):
            self.note(event, f"a key holds an invisible character: {printable(_short(value))}", "type it again")
        elif value in frame.value:
            first = frame.branch.keys[value].start_mark.line + 1
            self.note(event, f'duplicate key "{_short(value)}"', f"first written on line {first}", key=value)
        else:
            frame.key = value

    def add(self, value: Any, node: Located) -> None:
        if not self.stack:
            self.root = (value, node)
            return
        frame = self.stack[-1]
        if not frame.branch.is_map:
            frame.value.append(value)
            frame.branch.children.append(node)  # type: ignore[union-attr]
            return
        key, frame.key = frame.key, None
        if key is _MERGE:
            self.note_merge(frame, value, node)
        elif key is not _NO_KEY:
            frame.value[key] = value
            frame.branch.keys[key] = frame.key_event
            frame.branch.children[key] = node

    def note_merge(self, frame: _Frame, value: Any, node: Any) -> None:
        assert frame.merges is not None
        parts = list(zip(value, node.children, strict=True)) if isinstance(value, list) else [(value, node)]
        for part, place in parts:
            if isinstance(part, dict):
                frame.merges.append((part, place))
            elif part is not _BAD:
                self.note(place, '"<<" takes a mapping or a list of mappings', "write <<: *name")

    def merge(self, frame: _Frame) -> None:
        """Adds what `<<` brings: own keys win, then the earlier of a list."""
        branch = frame.branch
        assert isinstance(branch.children, dict)
        for value, source in frame.merges or ():
            for key, item in value.items():
                if key not in frame.value:
                    frame.value[key] = item
                    branch.keys[key] = source.keys[key]
                    branch.children[key] = source.children[key]

    def anchor(self, event: Any, name: str, entry: Any) -> None:
        if name in self.anchors:
            self.note(event, f"the anchor &{_short(name)} is already in this file", "give it another name")
        self.anchors[name] = entry

    def resolve(self, event: AliasEvent) -> tuple[Any, Any, int, int]:
        name = event.anchor or ""
        entry = self.anchors.get(name)
        if entry is _OPEN:
            self.note(event, f"the alias *{_short(name)} stands inside what it names", "a value cannot hold itself")
        elif entry is None:
            near, name = suggest(name, self.anchors), _short(name)
            anchor = f"write &{name} before the value it stands for; text that begins with * needs quotes"
            hint = f"did you mean *{near}?" if near else anchor
            self.note(event, f"no anchor &{name} before this alias", hint)
        else:
            value, node, size, height = entry
            return value, node, size, height
        return _BAD, None, 1, 0

    def tagged(self, event: ScalarEvent) -> Any:
        if event.tag not in scalars.TAGS:
            self.note_tag(event)
            return event.value
        return scalars.tagged(event.value, event.tag)

    def check_text(self, event: ScalarEvent) -> None:
        if len(event.value) > MAX_SCALAR:
            self.note(event, f"this text is longer than {MAX_SCALAR // 1024} KiB", "keep it in a file of its own")
        elif problem := scalars.unusable(event.value):
            self.note(event, problem, "remove the escape that makes it")

    def check_root(self) -> None:
        if self.errors:
            return
        if self.root is None or self.root[0] is None:
            is_defaults = self.text.file.rpartition("/")[2] == "defaults.yaml"
            hint = "remove it, or write what its folder shares" if is_defaults else 'begin with "tidemill: 1"'
            self.put(self.text.error((1, 1, 1), (), "the file holds nothing", hint))
        elif not isinstance(self.root[0], dict):
            kind = "a list" if isinstance(self.root[0], list) else "a single value"
            hint = "write keys and values such as `owner: ops`, with a space after the colon"
            self.note(self.root[1], f"the file must be a mapping, not {kind}", hint)

    # Limits and errors

    def count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, aliases expanded"
            self.fail(event, message, "use fewer aliases, or several files")

    def put(self, error: SpecError) -> None:
        self.errors.append(error)
        if len(self.errors) >= MAX_ERRORS:
            raise _Stop

    def note(self, span: Located, message: str, hint: str | None = None, key: str | None = None) -> None:
        place = self.text.place(span.start_mark, span.end_mark)
        path = self.path() if key is None else (*self.path(), key)
        self.put(self.text.error(place, path, message, hint))

    def fail(self, span: Located, message: str, hint: str) -> NoReturn:
        self.note(span, message, hint)
        raise _Stop

    def note_tag(self, event: Any) -> None:
        tag = _short(event.tag.replace("tag:yaml.org,2002:", "!!"))
        line, column, _ = self.text.place(event.start_mark)
        written = _TAG.search(self.text.lines[line - 1], column - 1)
        place = (line, written.start() + 1, len(written[0])) if written else (line, column, 1)
        hint = "remove it: values are plain data; text that begins with ! needs quotes"
        self.put(self.text.error(place, self.path(), f"the tag {tag} is not allowed here", hint))

    def path(self) -> Path:
        path: list[str | int] = []
        for frame in self.stack:
            if not frame.branch.is_map:
                path.append(len(frame.value))
            elif isinstance(frame.key, str):
                path.append(frame.key)
            else:
                break
        return tuple(path)

    def complex_key_hint(self, event: Any) -> str | None:
        start = event.start_mark
        before = self.text.lines[start.line][: start.column]
        return 'put a template in quotes: "{{ … }}"' if before.endswith("{") else None


def _short(word: str) -> str:
    return word if len(word) <= 60 else word[:59] + "…"


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    if type(value) is list:
        return [_copy(item) for item in value]
    return value
