"""Every kind of tampering is found, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidemill.ledger import Ledger
from tidemill.ledger.chain import Row, examine
from tidemill.ledger.entry import chain_hash

Tamper = Callable[..., None]


@pytest.fixture
def heads(ledger: Ledger) -> list[str]:
    """The hashes of a chain of five; a second model stands beside it, untouched."""
    ledger.append("other", "run", {})
    return [ledger.append("m", "run", {"i": i}, key=f"k{i}").hash for i in range(5)]


def found(ledger: Ledger, head: str | None = None) -> list[tuple[int | None, str]]:
    assert ledger.verify("other") == []
    return [(p.seq, p.what) for p in ledger.verify("m", head)]


def _bytes(text: str, url: str) -> str:
    return f"convert_to({text}, 'UTF8')" if url.startswith("postgresql") else f"CAST({text} AS BLOB)"


def _text(url: str) -> str:
    return "convert_from(payload, 'UTF8')" if url.startswith("postgresql") else "CAST(payload AS TEXT)"


def test_an_untouched_chain_is_whole(ledger: Ledger, heads: list[str]) -> None:
    for head in (None, *heads):
        assert found(ledger, head) == []


def test_a_changed_body(ledger: Ledger, ledger_url: str, heads: list[str], tamper: Tamper) -> None:
    changed = _bytes(f"replace({_text(ledger_url)}, '\"i\":2', '\"i\":7')", ledger_url)
    tamper(f"UPDATE tidemill_ledger SET payload = {changed} WHERE model = 'm' AND seq = 3")
    assert ledger.entries("m")[2].body == {"i": 7}
    assert found(ledger, heads[4]) == [(3, "changed")]


def test_a_changed_hash(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper(f"UPDATE tidemill_ledger SET hash = '{'0' * 64}' WHERE model = 'm' AND seq = 3")
    assert found(ledger, heads[4]) == [(3, "changed")]
    assert found(ledger, heads[2]) == [(3, "changed"), (None, "head")]


def test_a_changed_link(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper(f"UPDATE tidemill_ledger SET prev_hash = '{'0' * 64}' WHERE model = 'm' AND seq = 3")
    assert found(ledger, heads[4]) == [(3, "changed")]


@pytest.mark.parametrize("seq", [1, 3, 4])
def test_an_entry_deleted_before_the_end(ledger: Ledger, heads: list[str], tamper: Tamper, seq: int) -> None:
    tamper(f"DELETE FROM tidemill_ledger WHERE model = 'm' AND seq = {seq}")
    assert found(ledger, heads[4]) == [(seq, "missing")]


def test_several_deleted_in_a_row_are_one_gap(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM tidemill_ledger WHERE model = 'm' AND seq IN (2, 3)")
    (problem,) = ledger.verify("m", heads[4])
    assert problem.text == "Entries 2 to 3 are missing: deleted, or given another number."


def test_deleted_in_the_middle_and_renumbered(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper(
        "DELETE FROM tidemill_ledger WHERE model = 'm' AND seq = 3",
        "UPDATE tidemill_ledger SET seq = 3 WHERE model = 'm' AND seq = 4",
        "UPDATE tidemill_ledger SET seq = 4 WHERE model = 'm' AND seq = 5",
    )
    assert found(ledger, heads[4]) == [(3, "reordered"), (4, "reordered")]


def test_deleted_at_the_end(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM tidemill_ledger WHERE model = 'm' AND seq = 5")
    assert found(ledger) == []  # what a chain alone cannot show
    assert found(ledger, heads[3]) == []
    assert found(ledger, heads[4]) == [(None, "head")]
    assert "its last entry is 4" in ledger.verify("m", heads[4])[0].text
    ledger.append("m", "run", {"i": "a new end"})
    assert found(ledger, heads[4]) == [(None, "head")]


def test_deleted_altogether(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM tidemill_ledger WHERE model = 'm'")
    assert found(ledger, heads[4]) == [(None, "head")]
    assert "holds no entry" in ledger.verify("m", heads[4])[0].text


def test_two_entries_exchanged(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    move = "UPDATE tidemill_ledger SET seq = {} WHERE model = 'm' AND seq = {}"
    tamper(move.format(99, 2), move.format(2, 4), move.format(4, 99))
    assert [p for p in found(ledger, heads[4]) if p[1] == "reordered"] == [(2, "reordered"), (4, "reordered")]


def test_an_entry_taken_from_another_model(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper(
        "DELETE FROM tidemill_ledger WHERE model = 'm' AND seq = 1",
        "INSERT INTO tidemill_ledger SELECT 'm', seq, kind, key, as_of, recorded_at, prev_hash, hash, payload"
        " FROM tidemill_ledger WHERE model = 'other'",
    )
    assert (1, "reordered") in found(ledger, heads[4])
    assert "written as number 1 of model 'other'" in ledger.verify("m")[0].text


@pytest.mark.parametrize(
    "column",
    ["kind = 'drift'", "key = NULL", "as_of = '2013-01-01T00:00:00.000000Z'", "recorded_at = '2013'"],
)
def test_an_index_column_that_disagrees(ledger: Ledger, heads: list[str], tamper: Tamper, column: str) -> None:
    tamper(f"UPDATE tidemill_ledger SET {column} WHERE model = 'm' AND seq = 3")
    assert found(ledger, heads[4]) == [(3, "index")]
    assert f"column {column.split()[0]} says" in ledger.verify("m")[0].text


def test_bytes_that_are_no_entry(ledger: Ledger, ledger_url: str, heads: list[str], tamper: Tamper) -> None:
    garbage = _bytes("'{\"format\": 1'", ledger_url)
    tamper(f"UPDATE tidemill_ledger SET payload = {garbage} WHERE model = 'm' AND seq = 3")
    assert found(ledger, heads[4]) == [(3, "changed"), (3, "unreadable")]


def test_a_rewritten_entry_with_a_fitting_hash_breaks_the_next_link(ledger: Ledger) -> None:
    entries = [ledger.append("m", "run", {"i": i}) for i in range(3)]
    rows = [
        Row("m", e.seq, e.kind, e.key, None, e.recorded_at.isoformat(), e.prev_hash, e.hash, e.payload) for e in entries
    ]
    forged = rows[1].payload.replace(b'"i":1', b'"i":9')
    rows[1] = rows[1]._replace(payload=forged, hash=chain_hash(rows[1].prev_hash, forged))
    problems = [(p.seq, p.what) for p in examine(rows, entries[2].hash) if p.what != "index"]
    assert problems == [(3, "link")]
    # Rewritten to the end, the chain fits again: only the head kept elsewhere gives it away.
    rows[2] = rows[2]._replace(prev_hash=rows[1].hash, hash=chain_hash(rows[1].hash, rows[2].payload))
    assert [p.what for p in examine(rows, None) if p.what != "index"] == []
    assert [p.what for p in examine(rows, entries[2].hash) if p.what != "index"] == ["head"]


def test_two_faults_are_both_reported(ledger: Ledger, heads: list[str], tamper: Tamper) -> None:
    tamper(
        f"UPDATE tidemill_ledger SET hash = '{'0' * 64}' WHERE model = 'm' AND seq = 1",
        "DELETE FROM tidemill_ledger WHERE model = 'm' AND seq = 3",
    )
    assert found(ledger, heads[4]) == [(1, "changed"), (3, "missing")]
