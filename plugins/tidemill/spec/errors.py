"""Errors of a spec as values with a place, and the one form in which a user sees them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from tidemill.errors import TidemillError

_MAX_SOURCE_WIDTH = 110
"""Display columns of a source line that are shown; a longer line is cut around the place."""
_CONTEXT_BEFORE = 40
"""Display columns kept before the place when a long line is cut."""
_MAX_PATH = 100
"""Characters of a path that are shown; the middle of a longer one is left out."""
_TAB = "    "
_ELLIPSIS = "…"
_MAX_CANDIDATES = 700
_MAX_WORD = 60
"""Names, and letters of each, that a misspelt one is compared with: comparing costs the product of both."""
MAX_ERRORS = 100
"""Mistakes of a file that are looked for and shown; thousands of them would cost seconds, and nobody reads them."""
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | set(map(chr, range(0xFE00, 0xFE10)))
"""Letters and marks that Unicode draws as nothing although their category calls them printable."""


def is_visible(text: str) -> bool:
    """Whether every character of `text` can be seen (no control, format, filler or odd-space character)."""
    return text.isprintable() and (text.isascii() or _INVISIBLE.isdisjoint(text))


def printable(text: str) -> str:
    r"""`text` with each invisible character as its escape (`\x1b`, `\u200b`), safe for a terminal."""
    if is_visible(text):
        return text
    return "".join(char if is_visible(char) else _escape(char) for char in text)


def dotted(path: Iterable[str | int]) -> str:
    """The text of a path of keys and list indexes: `("steps", "a", 0)` is `steps.a[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def suggest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be, or None if none is near.

    Differences of case and between `_`, `-` and space count for nothing.
    """
    by_form: dict[str, str] = {}
    for candidate in islice(candidates, _MAX_CANDIDATES):
        by_form.setdefault(_plain_form(candidate[:_MAX_WORD]), candidate)
    form = _plain_form(word)
    if form in by_form:
        found = by_form[form]
        return found if found != word else None
    # Short words need a lower cutoff: one wrong letter of three leaves a ratio of 0.67.
    cutoff = 0.72 if len(form) > 4 else 0.66
    near = difflib.get_close_matches(form[:_MAX_WORD], by_form, n=1, cutoff=cutoff)
    return by_form[near[0]] if near else None


@dataclass(frozen=True, slots=True)
class SpecError:
    """One mistake at one place of one file.

    `line` and `column` count from 1, in characters; `length` is the width of the caret in characters;
    `path` is dotted (`promote.when.roc_acu`), empty for the file itself; `source` is the text of the line.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    length: int = 1
    source: str = ""

    def render(self) -> str:
        """The error as a user sees it: place and message, then the line with a caret and the hint."""
        where = f"{printable(path)}: " if (path := self._shown_path()) else ""
        head = f"{printable(self.file)}:{self.line}:{self.column}: {where}{printable(self.message)}"
        number = str(self.line)
        gutter = " " * len(number) + " |"
        shown, indent, width = _window(self.source, self.column - 1, self.length)
        caret = " " * indent + "^" * width
        if self.hint:
            caret += " " + printable(self.hint)
        return "\n".join([head, gutter, f"{number} | {shown}".rstrip(), f"{gutter} {caret}"])

    def _shown_path(self) -> str:
        # A message that names the key itself, `unknown metric "roc_acu"`, is about the key's parent.
        parent, _, last = self.path.rpartition(".")
        path = parent if f'"{last}"' in self.message else self.path
        return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH // 2]}…{path[-_MAX_PATH // 2 :]}"

    def to_json(self) -> dict[str, str | int | None]:
        """The error as a JSON object, for `--json`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
            "length": self.length,
            "source": self.source,
        }

    @property
    def place(self) -> tuple[str, int, int]:
        """File, line and column: what errors are sorted by."""
        return self.file, self.line, self.column


class SpecErrors(TidemillError):
    """Every mistake found, sorted by place."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors: tuple[SpecError, ...] = tuple(sorted(errors, key=lambda error: error.place))
        super().__init__(self.errors)

    def render(self) -> str:
        """All errors as a user sees them, a blank line between two."""
        return "\n\n".join(error.render() for error in self.errors)

    def to_json(self) -> list[dict[str, str | int | None]]:
        """All errors as JSON objects."""
        return [error.to_json() for error in self.errors]

    def __str__(self) -> str:
        return self.render()


def _plain_form(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def _escape(char: str) -> str:
    code = ord(char)
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(source: str) -> list[tuple[str, int]]:
    """What is drawn for each character of a line, with its width in display columns."""
    cells: list[tuple[str, int]] = []
    for char in source:
        if " " <= char <= "~":
            cells.append((char, 1))
        elif char == "\t":
            cells.append((_TAB, len(_TAB)))
        elif not is_visible(char):
            escaped = _escape(char)
            cells.append((escaped, len(escaped)))
        elif unicodedata.category(char) in ("Mn", "Me"):
            cells.append((char, 0))
        else:
            cells.append((char, 2 if unicodedata.east_asian_width(char) in "WF" else 1))
    return cells


def _window(source: str, start: int, length: int) -> tuple[str, int, int]:
    """The part of a line to draw, and the caret's indent and width in display columns.

    `start` and `length` are in characters. A long line is cut on both sides, with an ellipsis at each cut.
    """
    source = source.rstrip()
    # Only the neighbourhood of the place can be drawn: a line of a megabyte need not be measured.
    low = max(0, start - _MAX_SOURCE_WIDTH)
    cells = _cells(source[low : start + 2 * _MAX_SOURCE_WIDTH])
    at = start - low
    first = 0
    if low or sum(width for _, width in cells) > _MAX_SOURCE_WIDTH:
        before = sum(width for _, width in cells[:at])
        while before > _CONTEXT_BEFORE and first < at:
            before -= cells[first][1]
            first += 1
    last, used = first, 0
    while last < len(cells) and used + cells[last][1] <= _MAX_SOURCE_WIDTH:
        used += cells[last][1]
        last += 1
    cut_left = low + first > 0
    cut_right = low + last < len(source)
    shown = "".join(text for text, _ in cells[first:last])
    shown = (_ELLIPSIS if cut_left else "") + shown + (_ELLIPSIS if cut_right else "")
    indent = sum(width for _, width in cells[first:at]) + max(0, at - len(cells)) + cut_left
    width = sum(width for _, width in cells[at : min(at + max(1, length), last)])
    return shown, indent, max(1, width)
