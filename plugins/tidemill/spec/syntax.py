"""Bytes to text, and a YAML parser's complaints in words that say what to do."""

from __future__ import annotations

import re
from typing import Final

import yaml

from tidemill.spec.document import Mark, Text
from tidemill.spec.errors import SpecError, SpecErrors

_NOT_YAML: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_QUOTE: Final = "put the text in quotes"


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
    return text


def _refused(text: Text, index: int, message: str, hint: str) -> SpecErrors:
    return SpecErrors([text.error(text.place_at(index), (), message, hint)])


def explain(error: yaml.YAMLError, text: Text) -> SpecError:
    """What a parser's error means for the person who wrote the file."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return text.error((1, 1, 1), (), f"this is not YAML: {error}")
    problem = error.problem or error.context or "this is not YAML"
    mark: Mark | None = error.problem_mark or error.context_mark
    if mark is None:
        return text.error((1, 1, 1), (), problem)
    line, column, _ = text.place(mark)
    return text.error((line, column, 1), (), problem)
