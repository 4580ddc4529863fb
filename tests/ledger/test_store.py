"""Appending and reading, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidemill.ledger import HeadMoved, KeyConflict, Ledger, open_ledger

DAY = datetime(2013, 7, 1, tzinfo=UTC)


def test_a_chain_grows_without_gaps_and_reads_back_as_it_was_appended(ledger: Ledger, ledger_url: str) -> None:
    before = datetime.now(UTC)
    written = [ledger.append("m", "run", {"i": i}, as_of=DAY + timedelta(days=i)) for i in range(3)]
    assert [e.seq for e in written] == [1, 2, 3]
    assert [e.prev_hash for e in written] == [None, written[0].hash, written[1].hash]
    assert before <= written[0].recorded_at <= written[2].recorded_at <= datetime.now(UTC)
    with open_ledger(ledger_url) as again:
        assert again.entries("m") == written
        assert again.head("m") == written[2]
        assert [e.payload for e in again.entries("m")] == [e.payload for e in written]
        assert again.verify("m", written[1].hash) == []


def test_models_have_chains_of_their_own(ledger: Ledger) -> None:
    ledger.append("b", "run", {}, key="same key")
    ledger.append("a", "drift", {}, key="same key")
    assert ledger.models() == ["a", "b"]
    assert [ledger.head(m).seq for m in "ab"] == [1, 1]  # type: ignore[union-attr]
    assert ledger.head("c") is None
    assert ledger.entries("c") == []
    assert ledger.verify("c") == []


def test_entries_by_kind_and_place(ledger: Ledger) -> None:
    for kind in ("run", "drift", "run", "evaluation"):
        ledger.append("m", kind, {})
    assert [e.seq for e in ledger.entries("m", kinds={"run"})] == [1, 3]
    assert [e.seq for e in ledger.entries("m", kinds=["run", "evaluation"], since_seq=1)] == [3, 4]
    assert [e.seq for e in ledger.entries("m", since_seq=4)] == []
    assert ledger.entries("m", kinds=()) == []


def test_unicode_makes_the_round_trip(ledger: Ledger) -> None:
    model = "Flüge–ÆØÅ–航班–🌊–e\u0301–%s ' \" \\"
    text = "".join(chr(i) for i in (*range(0x250), *range(0x2000, 0x2100), 0xFFFF, 0x1F30A, 0x10FFFF))
    entry = ledger.append(model, "run", {text: [text]}, key="schlüssel/é")
    assert ledger.entries(model) == [entry]
    assert ledger.entries(model)[0].body == {text: [text]}
    assert ledger.find(model, "schlüssel/é") == entry
    assert ledger.find(model, "schlüssel/e\u0301") is None
    assert ledger.models() == [model]
    assert ledger.verify(model, entry.hash) == []


def test_compare_and_swap(ledger: Ledger) -> None:
    first = ledger.append("m", "run", {}, expect_head=None)
    with pytest.raises(HeadMoved) as empty:
        ledger.append("m", "run", {}, expect_head=None)
    assert empty.value.head == first
    second = ledger.append("m", "run", {}, expect_head=first.hash)
    with pytest.raises(HeadMoved, match=r"it is .* \(entry 2\)") as stale:
        ledger.append("m", "run", {}, expect_head=first.hash)
    assert (stale.value.expected, stale.value.head) == (first.hash, second)
    with pytest.raises(HeadMoved, match="the chain is empty"):
        ledger.append("other", "run", {}, expect_head=first.hash)
    assert [e.seq for e in ledger.entries("m")] == [1, 2]


def test_a_key_names_one_fact(ledger: Ledger) -> None:
    first = ledger.append("m", "run", {"x": 1, "y": [2]}, as_of=DAY, key="k", expect_head=None)
    ledger.append("m", "run", {})
    # A retry repeats its whole call, with the head that it once expected.
    assert ledger.append("m", "run", {"y": (2,), "x": 1}, as_of=DAY, key="k", expect_head=None) == first
    for kind, body, as_of in (
        ("drift", {"x": 1, "y": [2]}, DAY),
        ("run", {"x": 1.0, "y": [2]}, DAY),
        ("run", {"x": True, "y": [2]}, DAY),
        ("run", {"x": 1}, DAY),
        ("run", {"x": 1, "y": [2]}, None),
    ):
        with pytest.raises(KeyConflict, match="already belongs to entry 1") as conflict:
            ledger.append("m", kind, body, as_of=as_of, key="k")
        assert conflict.value.existing == first
    assert [e.seq for e in ledger.entries("m")] == [1, 2]
    assert ledger.find("m", "k") == first
    assert ledger.find("m", "other") is None


def test_entries_without_a_key_may_repeat(ledger: Ledger) -> None:
    assert ledger.append("m", "run", {}).seq == 1
    assert ledger.append("m", "run", {}).seq == 2


def test_the_largest_entry_fits(ledger: Ledger) -> None:
    entry = ledger.append("m" * 255, "run", {"x": "a" * (1024 * 1024 - 8)}, key="🌊" * 255)
    assert ledger.head("m" * 255) == entry
    assert ledger.find("m" * 255, "🌊" * 255) == entry
