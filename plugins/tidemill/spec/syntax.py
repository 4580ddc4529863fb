"""Bytes to text, and a YAML parser's complaints in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import yaml

from tidemill.spec.document import Mark, Text
from tidemill.spec.errors import SpecError, SpecErrors

_NOT_YAML: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_DIRECTIVE: Final = re.compile("(?:^|[\n\r\x85\u2028\u2029])%")
_MAX_DIRECTIVES: Final = 8
_QUOTE: Final = "put the text in quotes"
_TEMPLATE: Final = 'put a template in quotes: "{{ … }}"'


def decode(data: bytes, file: str, max_bytes: int) -> Text:
    """A file's text, checked to be UTF-8 without control characters and at most `max_bytes` long.

    Raises SpecErrors with the place of the first byte that is not.
    """
    if len(data) > max_bytes:
        text = Text(file, data[:400].decode("utf-8", "replace"))
        raise _refused(text, 0, f"the file is larger than {max_bytes // 1024} KiB", "split it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]:
        raise _refused(Text(file, ""), 0, "the file is UTF-16 or UTF-32, not UTF-8", "save it again as UTF-8")
    data = data.removeprefix(_UTF8_BOM)
    try:
        text = Text(file, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        before = len(data[: error.start].decode("utf-8"))
        text = Text(file, data.decode("utf-8", "replace"))
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise _refused(text, before, message, "save the file again as UTF-8") from None
    if bad := _NOT_YAML.search(text.content):
        message = f"the character U+{ord(bad[0]):04X} is not allowed in a YAML file"
        raise _refused(text, bad.start(), message, "remove it")
    # Parsers compare each directive with all before it: 60,000 of them would take seconds.
    if len(directives := list(_DIRECTIVE.finditer(text.content))) > _MAX_DIRECTIVES:
        at = directives[_MAX_DIRECTIVES].end() - 1
        raise _refused(text, at, f"more than {_MAX_DIRECTIVES} lines begin with %", "remove them")
    return text


def _refused(text: Text, index: int, message: str, hint: str) -> SpecErrors:
    return SpecErrors([text.error(text.place_at(index), (), message, hint)])


class _Trouble(NamedTuple):
    """Where a parser gave up, and what it had begun."""

    problem: str
    line: str
    column: int  # from 0, in the line
    before: str  # the nearest line above that is not blank
    opened: str  # what stands where the unfinished part began
    opened_at: str

    @property
    def char(self) -> str:
        return self.line[self.column : self.column + 1]

    @property
    def left(self) -> str:
        return self.line[: self.column]

    @property
    def starts_line(self) -> bool:
        return not self.left.strip()

    @property
    def template(self) -> bool:
        return "{{" in self.left


Advice = tuple[str, str | None]
_Place = Literal["problem", "context"]


def explain(error: yaml.YAMLError, text: Text) -> SpecError:
    """What a parser's error means for the person who wrote the file."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return text.error((1, 1, 1), (), f"this is not YAML: {error}")
    problem = error.problem or ""
    mark: Mark = error.problem_mark
    context: Mark = error.context_mark or mark
    line, column, _ = text.place(mark)
    source = text.lines[line - 1]
    opened_line, opened_column, _ = text.place(context)
    trouble = _Trouble(
        problem=problem,
        line=source,
        column=column - 1,
        before=next((above for above in reversed(text.lines[: line - 1]) if above.strip()), ""),
        opened=text.lines[opened_line - 1][opened_column - 1 :],
        opened_at=f"line {opened_line}, column {opened_column}",
    )
    for pattern, place, advise in _ADVICE:
        if re.search(pattern, f"{error.context or ''}: {problem}"):
            message, hint = advise(trouble)
            at = (line, column, 1) if place == "problem" else (opened_line, opened_column, 1)
            return text.error(at, (), message, hint)
    return text.error((line, column, 1), (), problem or "this is not YAML")


def _character(trouble: _Trouble) -> Advice:
    if trouble.char == "\t" or "tab character" in trouble.problem:
        if trouble.starts_line:
            return "a tab indents this line", "indent with spaces"
        return "a tab stands where YAML takes only spaces", "replace it with a space"
    return f'text cannot begin with "{trouble.char}"', _QUOTE


def _second_colon(trouble: _Trouble) -> Advice:
    if re.search(r":\s", trouble.left.strip() + " ") and ": " in trouble.left + " ":
        return 'a second ": " on this line', "put a text that holds a colon in quotes"
    before = trouble.before.strip()
    if glued := re.match(r"([\w.-]+):(?=[^\s/])", before):
        return "the line above is no key with a value", f'a space must follow the colon: "{glued[0]} …"'
    if re.match(r"[^#]*:(\s|$)", before):
        return "this line is indented deeper than the one above allows", "align it with the key above"
    return "the line above has no colon", "write every line as a key, a colon and a value"


def _no_colon(trouble: _Trouble) -> Advice:
    word = re.split(r"\s*(?:#|$)", trouble.opened, maxsplit=1)[0][:40]
    if glued := re.match(r"([\w.-]+):(?=[^\s/])", word):
        return f'no space after the colon of "{word}"', f'write "{glued[0]} {word[glued.end() :]}"'
    return f'no colon after "{word}"', "write a key, a colon, a space and a value"


def _no_key(trouble: _Trouble) -> Advice:
    if trouble.template:
        return f'unexpected "{trouble.char}" here', _TEMPLATE
    if trouble.char in "]})" and trouble.char:
        return f'"{trouble.char}" closes nothing that was opened', "remove it, or put the text in quotes"
    if trouble.starts_line and re.match(r"-(\s|$)", trouble.line[trouble.column :]):
        return "a list item among keys", "indent the list under its key"
    if trouble.starts_line and trouble.char == ":":
        return "no key before this colon", "write the key"
    if trouble.starts_line:
        return "this line begins in a column of its own", "keys of one mapping begin in the same column"
    if trouble.left.rstrip().endswith(('"', "'")):
        return "text after the closing quote", "put the whole text in one pair of quotes"
    return f'unexpected "{trouble.char}" here', _QUOTE


def _no_item(trouble: _Trouble) -> Advice:
    return "this line is no list item, but those above are", 'begin it with "- ", or indent it under its item'


def _unclosed(trouble: _Trouble) -> Advice:
    if trouble.template:
        return f'unexpected "{trouble.char}" here', _TEMPLATE
    if trouble.char == ":" and trouble.line.endswith(trouble.opened):
        return _second_colon(trouble)
    opening = trouble.opened[:1]
    closing = {"[": "]", "{": "}"}.get(opening, "]")
    message = f'the "{opening}" of {trouble.opened_at} is not closed before this'
    return message, f'put commas between the values and "{closing}" behind the last'


def _escape(trouble: _Trouble) -> Advice:
    return "this is no escape", "in double quotes write \\\\ for a backslash, or use single quotes"


def _no_value(trouble: _Trouble) -> Advice:
    if not trouble.char:
        return "a value is missing here", None
    return f'"{trouble.char}" stands where a value should', "write the value, or put the text in quotes"


_ADVICE: Final[tuple[tuple[str, _Place, Callable[[_Trouble], Advice]], ...]] = (
    (r"cannot start any token|tab character", "problem", _character),
    (r"mapping values are not allowed", "problem", _second_colon),
    (r"could not find expected ':'", "context", _no_colon),
    (
        r"quoted scalar: found unexpected (end|document)",
        "context",
        lambda trouble: ("this quote is never closed", f"close it with {trouble.opened[:1]}"),
    ),
    (r"quoted scalar: ", "problem", _escape),
    (r"(?i)unicode character escape", "problem", _escape),
    (
        r"scanning an (alias|anchor)|(parsing|scanning) a tag|tag handle",
        "context",
        lambda trouble: (f'text cannot begin with "{trouble.opened[:1]}"', _QUOTE),
    ),
    (r"mapping keys are not allowed", "problem", lambda trouble: ('text cannot begin with "? "', _QUOTE)),
    (
        r"sequence entries are not allowed",
        "problem",
        lambda trouble: (
            "a list cannot begin here",
            "begin it on the next line, or write it in brackets: [a, b]",
        ),
    ),
    (
        r"scanning a block scalar",
        "context",
        lambda trouble: (
            f'"{trouble.opened[:1]}" begins a text of several lines',
            "write the text below it, indented",
        ),
    ),
    (r"flow (sequence|mapping): ", "problem", _unclosed),
    (r"block mapping: ", "problem", _no_key),
    (r"block collection: |block sequence: ", "problem", _no_item),
    (r"node content", "problem", _no_value),
    (
        r"<document start>",
        "problem",
        lambda trouble: ("the file goes on after its end", "remove this: a file holds one mapping"),
    ),
    (r"directive|YAML document", "problem", lambda trouble: ("this % line is not needed", "remove it")),
)
"""What a parser says, in libyaml's words or in PyYAML's own, where to point, and what to say instead."""
