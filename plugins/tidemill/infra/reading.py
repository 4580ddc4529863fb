"""Terraform's language, read as far as a root and people's values need: blocks, and attributes with literal values.

What is no literal is kept as its text. python-hcl2 tells neither an attribute's line nor the value of a text with
escapes, and takes seconds to start; a comparison needs the first two, and a command line cannot have the third.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from tidemill.infra.needs import InfraProblem

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\ufeff]+|(?:\#|//)[^\n]*|/\*.*?\*/)|(?P<line>\n)|<<-?(?P<heredoc>[A-Za-z_][\w-]*)[ \t]*\r?\n|
    (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d][\w-]*)|(?P<text>")|(?P<other>[=!<>]=|&&|\|\||=>|\.\.\.|[^\s])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|\$\$\{|%%\{", re.DOTALL)
_PLAIN: Final = {"n": "\n", "r": "\r", "t": "\t"}
_OPEN: Final = {"{": "}", "[": "]", "(": ")"}
_WORDS: Final = {"true": True, "false": False, "null": None}


class Expression(str):
    """What is no literal, as its tokens with a space between each."""


@dataclass(frozen=True)
class Item:
    """``name = value``, or a block ``name "label" … { body }``; ``line``: where it begins."""

    name: str
    line: int
    value: Any = None
    labels: tuple[str, ...] = ()
    body: tuple[Item, ...] = field(default=())

    @property
    def attributes(self) -> Mapping[str, Item]:
        """What a block holds, by name."""
        return {item.name: item for item in self.body}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def read(text: str, file: str) -> tuple[Item, ...]:
    """The items of a file, which ``file`` names in errors.

    Raises:
        InfraProblem: it is not in Terraform's language, with its line.
    """
    try:
        return _Reader(list(_tokens(text)), file).all()
    except RecursionError:
        raise InfraProblem(f"{file}: it is nested too deeply to be read") from None


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # a control character
            yield _Token("other", text[at], line)
            at += 1
            continue
        kind, end = found.lastgroup or "other", found.end()
        if kind == "text":
            end = _text_end(text, found.end())
            if end - at < len('""') or text[end - 1] != '"':
                kind = "broken"
        elif kind == "heredoc":
            closing = re.compile(rf"^[ \t]*{re.escape(found['heredoc'])}[ \t]*\r?$", re.MULTILINE).search(text, end)
            end, kind = (closing.end(), kind) if closing else (len(text), "broken")
        if kind != "space":
            yield _Token(kind, text[at:end], line)
        line += text.count("\n", at, end)
        at = end
    yield _Token("end", "", line)


def _text_end(text: str, at: int) -> int:
    """Where a text ends that begins before ``at``; expressions in it may hold texts of their own."""
    depth = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and not depth:
            at += 1
        elif text.startswith(("$${", "%%{"), at) and not depth:
            at += 2
        elif text.startswith(("${", "%{"), at):
            depth += 1
            at += 1
        elif depth and char == "{":
            depth += 1
        elif depth and char == "}":
            depth -= 1
        elif depth and char == '"':
            at = _text_end(text, at + 1) - 1
        elif char == '"' or (char == "\n" and not depth):
            return at + 1
        at += 1
    return at


class _Reader:
    def __init__(self, tokens: list[_Token], file: str) -> None:
        self.tokens, self.file, self.at = tokens, file, 0

    def all(self) -> tuple[Item, ...]:
        self.at = next((at for at, token in enumerate(self.tokens) if token.kind == "broken"), 0)
        if self.next.kind == "broken":
            raise self.problem()
        found = self.body()
        if self.next.kind != "end":
            raise self.problem()
        return found

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def problem(self) -> InfraProblem:
        told = self.next.text.partition("\n")[0][:40] or "the end of " + ("a line" if self.next.text else "the file")
        return InfraProblem(f"{self.file}:{self.next.line}: cannot be read at {told}: see `terraform validate`")

    def lines(self) -> None:
        while self.next.kind == "line":
            self.at += 1

    def body(self) -> tuple[Item, ...]:
        found: list[Item] = []
        self.lines()
        while self.next.kind not in ("end", "other"):
            found.append(self.item())
            self.lines()
        return tuple(found)

    def item(self) -> Item:
        if self.next.kind not in ("name", "text"):
            raise self.problem()
        name, labels = self.take(), []
        if self.next.text == "=":
            self.at += 1
            return Item(name.text, name.line, self.value())
        while self.next.kind in ("name", "text"):
            labels.append(_unquoted(self.take()))
        if self.next.text != "{":
            raise self.problem()
        self.at += 1
        body = self.body()
        if self.next.text != "}":
            raise self.problem()
        self.at += 1
        return Item(name.text, name.line, labels=tuple(map(str, labels)), body=body)

    def value(self) -> Any:
        """A literal, if nothing comes behind it on its line; else the text."""
        begin = self.at
        found = self.literal()
        if not isinstance(found, Expression) and (
            self.next.kind in ("line", "end") or self.next.text in (",", "}", "]", ")")
        ):
            return found
        self.at = begin
        return self.expression()

    def literal(self) -> Any:
        token = self.take() if self.next.kind not in ("line", "end") else self.next
        if token.kind == "text":
            return _unquoted(token)
        if token.kind == "number":
            return float(token.text) if {*token.text} & {*".eE"} else int(token.text)
        if token.text == "-" and self.next.kind == "number":
            return -self.literal()
        if token.kind == "name" and token.text in _WORDS:
            return _WORDS[token.text]
        if token.text == "[":
            return self.several("]", self.value)
        if token.text == "{":
            return dict(self.several("}", self.pair))
        return Expression()

    def several(self, end: str, one: Any) -> list[Any]:
        found: list[Any] = []
        self.lines()
        while self.next.text != end:
            if self.next.kind == "end":
                raise self.problem()
            found.append(one())
            self.lines()
            if self.next.text == ",":
                self.at += 1
                self.lines()
        self.at += 1
        return found

    def pair(self) -> tuple[str, Any]:
        begin = self.at
        while self.next.text not in ("=", ":"):
            if self.next.kind in ("line", "end") or self.next.text in ("}", ","):
                raise self.problem()
            self.at += 1
        key = self.tokens[begin : self.at]
        self.at += 1
        self.lines()
        return str(_unquoted(key[0])) if len(key) == 1 else _joined(key), self.value()

    def expression(self) -> Expression:
        begin, closing = self.at, [""]
        while self.next.kind != "end":
            text = self.next.text
            if len(closing) == 1 and (self.next.kind == "line" or text in (",", "}", "]", ")")):
                break
            if self.next.kind == "other" and text in _OPEN:
                closing.append(_OPEN[text])
            elif self.next.kind == "other" and text == closing[-1]:
                closing.pop()
            self.at += 1
        if self.at == begin or len(closing) > 1:
            raise self.problem()
        return Expression(_joined(self.tokens[begin : self.at]))


def _joined(tokens: list[_Token]) -> str:
    """Tokens as one text: alike however they are spaced, and with or without commas at the ends of lines."""
    plain = [token for token in tokens if token.kind != "line"]
    kept = [
        one for one, after in pairwise([*plain, _Token("end", "", 0)]) if not (one.text == "," and after.text in "]})")
    ]
    return " ".join(token.text for token in kept)


def _unquoted(token: _Token) -> str:
    """What a text says; one with expressions in it stays as it is."""
    if token.kind != "text":
        return token.text
    inner = token.text[1:-1]
    if re.search(r"(?<!\$)(?:\$\$)*\$\{|(?<!%)(?:%%)*%\{", inner):
        return Expression(token.text)
    return _ESCAPE.sub(_escaped, inner)


def _escaped(found: re.Match[str]) -> str:
    said = found[1]
    if said is None:
        return found[0][1:]
    return chr(int(said[1:], 16)) if said[0] in "uU" and len(said) > 1 else _PLAIN.get(said, said)
