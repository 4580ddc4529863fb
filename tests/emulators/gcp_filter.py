"""The list filter of Vertex AI, as ``ListCustomJobsRequest`` describes it: the grammar of AIP-160 over a few fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<word>AND|OR|NOT)\b"
    r"|(?P<field>[a-z_]+(?:\.[a-z0-9_-]+)?)\s*(?P<op><=|>=|!=|[=<>:])\s*(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>[^\s()]+)))"
)
_FIELDS = {"display_name": {"=", "!=", ":"}, "state": {"=", "!="}, "create_time": {"=", "!=", "<", "<=", ">", ">="}}

Matches = Callable[[Any], bool]


class BadFilter(Exception):
    """What the service answers with INVALID_ARGUMENT."""


def parse(text: str) -> Matches:
    """A filter over what has ``labels``, ``display_name``, ``state`` and ``create_time``. Raises BadFilter."""
    tokens = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadFilter(f"Invalid filter: {text!r}")
        tokens.append(found.groupdict())
        at = found.end()
    if not tokens:
        return lambda job: True
    matches, rest = _all(tokens)
    if rest:
        raise BadFilter(f"Invalid filter: {text!r}")
    return matches


def _all(tokens: list[dict[str, Any]]) -> tuple[Matches, list[dict[str, Any]]]:
    # OR binds tighter than AND there.
    return _joined(tokens, "AND", _any, lambda a, b: lambda job: a(job) and b(job))


def _any(tokens: list[dict[str, Any]]) -> tuple[Matches, list[dict[str, Any]]]:
    return _joined(tokens, "OR", _one, lambda a, b: lambda job: a(job) or b(job))


def _joined(
    tokens: list[dict[str, Any]],
    word: str,
    part: Callable[[list[dict[str, Any]]], tuple[Matches, list[dict[str, Any]]]],
    join: Callable[[Matches, Matches], Matches],
) -> tuple[Matches, list[dict[str, Any]]]:
    matches, tokens = part(tokens)
    while tokens and tokens[0]["word"] == word:
        other, tokens = part(tokens[1:])
        matches = join(matches, other)
    return matches, tokens


def _one(tokens: list[dict[str, Any]]) -> tuple[Matches, list[dict[str, Any]]]:
    if not tokens:
        raise BadFilter("Invalid filter: it ends early")
    first, rest = tokens[0], tokens[1:]
    if first["word"] == "NOT":
        inner, rest = _one(rest)
        return lambda job: not inner(job), rest
    if first["open"]:
        inner, rest = _all(rest)
        if not rest or not rest[0]["close"]:
            raise BadFilter("Invalid filter: a bracket is open")
        return inner, rest[1:]
    if first["field"] is None:
        raise BadFilter("Invalid filter")
    value = first["quoted"] if first["quoted"] is not None else first["bare"]
    return _comparison(first["field"], first["op"], value), rest


def _comparison(field: str, op: str, value: str) -> Matches:
    name, _, key = field.partition(".")
    if name == "labels" and key:
        if op == ":" and value == "*":
            return lambda job: key in job.labels
        if op == "=":
            return lambda job: job.labels.get(key) == value
    elif op in _FIELDS.get(name, ()):
        if name == "create_time":
            return _time(op, datetime.fromisoformat(value))
        return _text(name, op, value)
    raise BadFilter(f"Invalid filter: {field} {op}")


def _text(name: str, op: str, value: str) -> Matches:
    def of(job: Any) -> str:
        return str(getattr(job, name))

    if op == ":":
        pattern = re.compile(".*".join(re.escape(part) for part in value.split("*")))
        return lambda job: pattern.search(of(job)) is not None
    return lambda job: (of(job) == value) == (op == "=")


def _time(op: str, value: datetime) -> Matches:
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "=": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }
    return lambda job: compare[op](job.create_time, value)
