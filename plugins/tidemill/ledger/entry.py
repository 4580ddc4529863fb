"""One entry of the ledger: what it holds, the bytes it is stored as, and its hash.

The stored bytes are canonical JSON (UTF-8, sorted keys, no spaces) of everything the entry says. The hash
is SHA-256 over the previous entry's hash, a line feed and those bytes; so nothing of an entry lies outside
the chain, and the bytes, once written, are only ever read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from tidemill.ledger.errors import InvalidEntry

MAX_BODY_BYTES = 1024 * 1024
MAX_NAME_CHARS = 255
MAX_DEPTH = 64
# Bytes are never rewritten, so every later version must read this one; it is part of what is hashed.
FORMAT = 1
# Quotas, budgets, cooldowns and the champion are counted in as_of time: without one these entries would not count.
KINDS_WITH_AS_OF = frozenset({"promotion", "rollback", "decision", "cost"})


class AnyHead(Enum):
    """The type of `ANY`: append behind whatever the head is."""

    ANY = "any"


ANY: Final = AnyHead.ANY

_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELDS = frozenset({"format", "model", "seq", "kind", "key", "as_of", "recorded_at", "body"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact about one model, as read back from the ledger.

    `seq` counts 1, 2, 3 … within the model; `as_of` (the instant the fact is about) and `recorded_at` (the
    clock when it was written) are UTC; `prev_hash` is None for the first entry; `payload` is what is stored.
    """

    model: str
    seq: int
    kind: str
    key: str | None
    as_of: datetime | None
    recorded_at: datetime
    body: Mapping[str, Any]
    prev_hash: str | None
    hash: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller wants to append, checked; it gets its place in the chain under the lock."""

    model: str
    kind: str
    key: str | None
    as_of: datetime | None
    body: Mapping[str, Any]

    def at(self, seq: int, prev_hash: str | None, recorded_at: datetime) -> Entry:
        """The finished entry at place `seq` behind the entry with hash `prev_hash`."""
        content = {
            "format": FORMAT,
            "model": self.model,
            "seq": seq,
            "kind": self.kind,
            "key": self.key,
            "as_of": None if self.as_of is None else format_instant(self.as_of),
            "recorded_at": format_instant(recorded_at),
            "body": self.body,
        }
        payload = canonical_json(content)
        return read_entry(payload, prev_hash, chain_hash(prev_hash, payload))

    def says_the_same_as(self, entry: Entry) -> bool:
        """Whether `entry` holds this draft's content (of JSON equality: 1 and 1.0 differ, True and 1 too)."""
        return (
            self.kind == entry.kind
            and self.as_of == entry.as_of
            and canonical_json(self.body) == canonical_json(entry.body)
        )


def draft(
    model: str, kind: str, body: Mapping[str, Any], *, as_of: datetime | None = None, key: str | None = None
) -> Draft:
    """A checked draft.

    Raises:
        InvalidEntry: a name that is empty, too long or unprintable; a body that is not a JSON object, holds
            NaN or infinity or exceeds 1 MiB; a naive `as_of`, or none where the kind needs one.
    """
    check_name("model", model)
    if key is not None:
        check_name("key", key)
    if not _KIND.fullmatch(kind):
        raise InvalidEntry(f"{kind!r} is not a kind of ledger entry.", "Use a word such as 'promotion'.")
    if as_of is None and kind in KINDS_WITH_AS_OF:
        raise InvalidEntry(f"A {kind} entry needs an as_of.", "Pass the run's as_of instant, in UTC.")
    if not isinstance(body, Mapping):
        raise InvalidEntry(f"A ledger body is a JSON object, not {type(body).__name__}.")
    plain = _plain(body, "body", 1)
    size = len(canonical_json(plain))
    if size > MAX_BODY_BYTES:
        raise InvalidEntry(
            f"The body of this {kind} entry has {size:,} bytes; the limit is {MAX_BODY_BYTES:,}.",
            "Store the data elsewhere and put its address and hash here.",
        )
    return Draft(model, kind, key, None if as_of is None else in_utc(as_of, "as_of"), plain)


def check_name(what: str, name: str) -> None:
    """Refuse a model name or key that a database, a log line or a URL could mangle."""
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        shown = repr(name) if len(repr(name)) <= 80 else repr(name)[:80] + "…"
        raise InvalidEntry(
            f"{shown} cannot be a ledger {what}.",
            f"It must be 1 to {MAX_NAME_CHARS} printable characters.",
        )


def in_utc(instant: datetime, what: str) -> datetime:
    """`instant` in UTC; naive ones are refused, because guessing their zone would shift rows."""
    if instant.utcoffset() is None:
        raise InvalidEntry(
            f"{what} must be a datetime with a time zone, not {instant!r}.",
            "Write for instance datetime(2013, 7, 1, tzinfo=UTC).",
        )
    return instant.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """`2013-07-01T00:00:00.000000Z`: of constant width, so that text sorts as time does."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """The inverse of `format_instant`.

    Raises:
        ValueError: the text is not of that form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def canonical_json(value: object) -> bytes:
    """The one byte form of a JSON value."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def chain_hash(prev_hash: str | None, payload: bytes) -> str:
    """SHA-256, as hexadecimal text, of the previous hash (nothing for the first), a line feed, the bytes."""
    return hashlib.sha256((prev_hash or "").encode("utf-8") + b"\n" + payload).hexdigest()


def read_entry(payload: bytes, prev_hash: str | None, hash: str) -> Entry:
    """The entry that the stored bytes describe. Only the bytes speak; index columns are not consulted.

    Raises:
        ValueError: the bytes are not an entry of a format this version knows.
    """
    content = json.loads(payload)
    if not isinstance(content, dict) or content.get("format") != FORMAT or set(content) != _FIELDS:
        raise ValueError(f"not a ledger entry of format {FORMAT}")
    if not isinstance(content["body"], dict) or not isinstance(content["recorded_at"], str):
        raise ValueError("a field of the ledger entry has the wrong type")
    as_of = content["as_of"]
    return Entry(
        model=content["model"],
        seq=content["seq"],
        kind=content["kind"],
        key=content["key"],
        as_of=None if as_of is None else parse_instant(str(as_of)),
        recorded_at=parse_instant(content["recorded_at"]),
        body=content["body"],
        prev_hash=prev_hash,
        hash=hash,
        payload=bytes(payload),
    )


def _plain(value: Any, where: str, depth: int) -> Any:
    """`value` as plain JSON types, so that it reads back as it was written; errors name the place."""
    if depth > MAX_DEPTH:
        raise InvalidEntry(f"A ledger body is nested deeper than {MAX_DEPTH} levels, at {where[:80]}….")
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidEntry(f"{where} is {value}, which is not JSON.", "Use null for a missing number.")
        return float(value)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, Mapping):
        return {_field(k, where): _plain(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise InvalidEntry(f"{where} is a {type(value).__name__}, which is not JSON.", "Convert it before it is recorded.")


def _field(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise InvalidEntry(f"{where} has the key {name!r}; JSON objects have text keys only.")
    return _text(name, where)


def _text(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidEntry(f"{where} holds half a surrogate pair, which UTF-8 cannot store.") from None
    return str.__str__(text)
