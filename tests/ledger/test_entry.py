"""What an entry may hold, and the bytes and hash it becomes."""

from __future__ import annotations

import enum
import hashlib
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tidemill.ledger.entry import draft, format_instant, parse_instant, read_entry
from tidemill.ledger.errors import HeadMoved, InvalidEntry, KeyConflict, LedgerError

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


def test_the_stored_bytes_say_everything_and_the_hash_covers_them() -> None:
    as_of = datetime(2013, 7, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    entry = draft("flüge", "run", {"b": 1, "a": [None, True, 0.1]}, as_of=as_of, key="k").at(2, "ab" * 32, NOW)
    assert entry.payload.decode() == (
        '{"as_of":"2013-07-01T00:00:00.000000Z","body":{"a":[null,true,0.1],"b":1},"format":1,"key":"k",'
        '"kind":"run","model":"flüge","recorded_at":"2026-03-01T12:00:00.000005Z","seq":2}'
    )
    assert entry.hash == hashlib.sha256(b"ab" * 32 + b"\n" + entry.payload).hexdigest()
    assert entry.as_of == as_of
    assert entry.as_of.tzinfo is UTC


def test_the_first_entry_hangs_on_nothing() -> None:
    entry = draft("m", "run", {}).at(1, None, NOW)
    assert entry.hash == hashlib.sha256(b"\n" + entry.payload).hexdigest()


def test_body_reads_back_as_plain_json() -> None:
    class Colour(enum.Enum):
        RED = "red"

    body = {
        "t": (1, 2),
        "e": Colour.RED,
        "big": 2**70,
        "tiny": 5e-324,
        "neg": -0.0,
        "n": {"": "\x00\u2028🌊"},
    }
    entry = draft("m", "run", body).at(1, None, NOW)
    assert entry.body == {**body, "t": [1, 2], "e": "red"}
    assert json.loads(entry.payload)["body"] == entry.body


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"m": {"roc_auc": [0.5, float("nan")]}}, r"body\.m\.roc_auc\[1\] is nan"),
        ({"x": float("-inf")}, r"body\.x is -inf"),
        ({"x": {1: "a"}}, r"body\.x has the key 1"),
        ({"x": datetime(2013, 1, 1, tzinfo=UTC)}, r"body\.x is a datetime"),
        ({"x": {"s"}}, r"body\.x is a set"),
        ({"x": b"bytes"}, r"body\.x is a bytes"),
        ({"x": "\ud800"}, r"body\.x holds half a surrogate pair"),
        ({"x": "ä" * (512 * 1024)}, r"1,048,5\d\d bytes; the limit is 1,048,576"),
        (["a"], "is a JSON object, not list"),
    ],
)
def test_a_body_that_would_not_read_back_is_refused(body: Any, says: str) -> None:
    with pytest.raises(InvalidEntry, match=says):
        draft("m", "run", body)


def test_a_body_of_exactly_one_mebibyte_is_taken() -> None:
    assert draft("m", "run", {"x": "a" * (1024 * 1024 - 8)}).at(1, None, NOW).seq == 1


def test_a_bottomless_body_is_refused_without_exhausting_the_stack() -> None:
    body: dict[str, Any] = {}
    for _ in range(100_000):
        body = {"x": body}
    with pytest.raises(InvalidEntry, match="deeper than 64 levels"):
        draft("m", "run", body)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\ud800", "x" * 256, "zero\u200bwidth"])
def test_names_that_something_could_mangle_are_refused(name: str) -> None:
    with pytest.raises(InvalidEntry, match="printable"):
        draft(name, "run", {})
    with pytest.raises(InvalidEntry, match="printable"):
        draft("m", "run", {}, key=name)


@pytest.mark.parametrize("kind", ["", "Run", "a-b", "9", "x" * 65])
def test_a_kind_is_a_word(kind: str) -> None:
    with pytest.raises(InvalidEntry, match="kind"):
        draft("m", kind, {})


def test_a_naive_as_of_is_refused() -> None:
    with pytest.raises(InvalidEntry, match="as_of must be a datetime with a time zone"):
        draft("m", "run", {}, as_of=datetime(2013, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("kind", ["promotion", "rollback", "decision"])
def test_what_is_counted_in_as_of_time_needs_one(kind: str) -> None:
    with pytest.raises(InvalidEntry, match="needs an as_of"):
        draft("m", kind, {})


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_instants_keep_their_width_and_value(year: int) -> None:
    instant = datetime(year, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert len(format_instant(instant)) == 27
    assert parse_instant(format_instant(instant)) == instant


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"format":2}', b"\xff", b'{"format":1}'])
def test_bytes_of_no_known_format_are_not_guessed_at(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read_entry(payload, None, "")


def test_errors_survive_pickling() -> None:
    entry = draft("m", "run", {}).at(1, None, NOW)
    errors: list[LedgerError] = [
        HeadMoved("m", None, entry),
        HeadMoved("m", "ab", None),
        KeyConflict("m", "k", entry),
        LedgerError("a", "b"),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
