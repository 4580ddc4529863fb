"""Who is champion and what was trained, with backfills, equal as_of, rollbacks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tidemill.ledger import Entry, InvalidEntry
from tidemill.ledger.entry import draft
from tidemill.ledger.views import (
    champion,
    last_training_as_of,
    latest_as_of,
    previous_champion,
    trainings,
)


def day(n: int) -> datetime:
    return datetime(2013, 1, n, tzinfo=UTC)


def ledger_of(*facts: tuple[str, int, dict[str, Any]]) -> list[Entry]:
    """Entries in ledger order: kind, day of as_of, body."""
    return [
        draft("m", kind, body, as_of=day(as_of)).at(seq, "ab" * 32, day(31))
        for seq, (kind, as_of, body) in enumerate(facts, 1)
    ]


def promoted(as_of: int, version: int | str, outcome: str = "promoted") -> tuple[str, int, dict[str, Any]]:
    return ("promotion", as_of, {"outcome": outcome, "version": version})


def rolled_back(as_of: int, to: int | str | None) -> tuple[str, int, dict[str, Any]]:
    return ("rollback", as_of, {"to_version": to, "from_version": "any"})


def version(entry: Entry | None) -> Any:
    return None if entry is None else entry.body["version"]


def reign(entries: list[Entry], days: range) -> list[Any]:
    """The champion's version on each day."""
    return [version(champion(entries, day(n))) for n in days]


def test_nobody_reigns_over_an_empty_ledger() -> None:
    assert champion([]) is None
    assert previous_champion([]) is None
    assert champion([], day(1)) is None


def test_a_promotion_is_in_force_from_its_as_of_inclusive() -> None:
    entries = ledger_of(promoted(3, 1), promoted(5, 2))
    assert reign(entries, range(2, 7)) == [None, 1, 1, 2, 2]
    assert version(champion(entries)) == 2
    assert version(previous_champion(entries)) == 1
    assert previous_champion(entries, day(4)) is None
    assert champion(entries) is entries[1]


def test_the_champion_before_a_certain_one() -> None:
    entries = ledger_of(promoted(3, 1), promoted(5, 2), promoted(7, 3))
    assert [version(previous_champion(entries, of=v)) for v in ("1", "2", "3", "4")] == [None, 1, 2, None]
    assert previous_champion(entries, day(6), of="3") is None


def test_what_was_not_promoted_does_not_reign() -> None:
    entries = ledger_of(
        promoted(3, 1), promoted(4, 2, "refused"), promoted(5, 3, "superseded"), ("run", 6, {"version": 4})
    )
    assert reign(entries, range(3, 8)) == [1] * 5
    assert previous_champion(entries) is None


def test_a_backfill_reigns_over_its_own_past_only() -> None:
    """Recorded last, of an earlier as_of: it fills its stretch of the past and never becomes champion now."""
    entries = ledger_of(promoted(3, 1), promoted(9, 2), promoted(6, 3))
    assert reign(entries, range(2, 11)) == [None, 1, 1, 1, 3, 3, 3, 2, 2]
    assert version(champion(entries)) == 2
    assert version(previous_champion(entries)) == 3


def test_a_backfill_before_everything() -> None:
    entries = ledger_of(promoted(9, 1), promoted(2, 2))
    assert reign(entries, range(1, 11)) == [None] + [2] * 7 + [1] * 2


def test_of_equal_as_of_the_later_in_the_ledger_reigns() -> None:
    entries = ledger_of(promoted(3, 1), promoted(3, 2), promoted(2, 9))
    assert version(champion(entries, day(3))) == 2
    assert version(champion(entries)) == 2
    assert version(previous_champion(entries)) == 1
    assert version(champion(entries, day(2))) == 9


def test_the_order_in_which_entries_are_handed_over_does_not_matter() -> None:
    entries = ledger_of(promoted(3, 1), promoted(3, 2), rolled_back(3, 1), promoted(2, 9))
    assert version(champion(entries)) == version(champion(entries[::-1])) == 1


def test_a_rollback_changes_the_champion_at_its_own_as_of() -> None:
    entries = ledger_of(promoted(2, 1), promoted(4, 2), rolled_back(6, 1), promoted(8, 3))
    assert reign(entries, range(1, 10)) == [None, 1, 1, 2, 2, 1, 1, 3, 3]
    assert champion(entries, day(6)) is entries[0]
    assert version(previous_champion(entries)) == 1


def test_a_rollback_to_nobody() -> None:
    entries = ledger_of(promoted(2, 1), rolled_back(4, None))
    assert reign(entries, range(2, 6)) == [1, 1, None, None]
    assert champion(entries) is None
    assert previous_champion(entries) is None


def test_a_rollback_of_the_champions_own_as_of_takes_effect_if_recorded_after_it() -> None:
    assert version(champion(ledger_of(promoted(2, 1), promoted(4, 2), rolled_back(4, 1)))) == 1
    # One of an earlier as_of is history: the later promotion stands.
    assert version(champion(ledger_of(promoted(2, 1), promoted(4, 2), rolled_back(3, 1)))) == 2


def test_a_rollback_does_not_offer_again_what_was_rolled_back_from() -> None:
    entries = ledger_of(promoted(1, 1), promoted(2, 2), promoted(3, 3), rolled_back(4, 2))
    assert version(champion(entries)) == 2
    assert version(previous_champion(entries)) == 1
    again = [*entries, *ledger_of(*[promoted(9, 0)] * 4, rolled_back(5, 1))[4:]]
    assert version(champion(again)) == 1
    assert previous_champion(again) is None


def test_forward_again_to_a_version_that_was_rolled_back_from() -> None:
    entries = ledger_of(promoted(1, 1), promoted(2, 2), rolled_back(3, 1), rolled_back(4, 2))
    assert champion(entries) is entries[1]
    assert version(previous_champion(entries)) == 1


@pytest.mark.parametrize("target", [7, 3, 4], ids=["never registered", "refused", "promoted later"])
def test_a_rollback_to_a_version_that_passed_no_gate_before_changes_nothing(target: int) -> None:
    entries = ledger_of(
        promoted(1, 1), promoted(2, 2), promoted(2, 3, "refused"), rolled_back(3, target), promoted(5, 4)
    )
    assert version(champion(entries, day(4))) == 2


def test_a_version_is_the_same_as_number_and_as_text() -> None:
    assert version(champion(ledger_of(promoted(1, "1"), promoted(2, 2), rolled_back(3, 1)))) == "1"


def test_the_same_version_promoted_again_did_not_come_before_itself() -> None:
    entries = ledger_of(promoted(1, 1), promoted(2, 2), promoted(3, 2))
    assert champion(entries) is entries[2]
    assert version(previous_champion(entries)) == 1


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(InvalidEntry, match="time zone"):
        champion([], datetime(2013, 1, 1))  # noqa: DTZ001


def decided(as_of: int, decision: str = "go", cause: str = "scheduled") -> tuple[str, int, dict[str, Any]]:
    return ("decision", as_of, {"decision": decision, "cause": cause})


def test_trainings_in_a_stretch_of_time() -> None:
    entries = ledger_of(
        decided(9), decided(3, cause="drift"), decided(4, "wait"), decided(5, cause="manual"), promoted(5, 1)
    )
    assert [e.seq for e in trainings(entries, since=day(1), until=day(31))] == [2, 4, 1]
    assert [e.seq for e in trainings(entries, since=day(3), until=day(9))] == [2, 4]
    assert trainings(entries, since=day(6), until=day(9)) == []
    only = trainings(entries, since=day(1), until=day(31), causes={"drift", "scheduled"})
    assert [e.seq for e in only] == [2, 1]


def test_the_last_training_counts_in_as_of_time() -> None:
    entries = ledger_of(decided(9), decided(3, cause="drift"), decided(5, cause="manual"), decided(8, "wait"))
    assert last_training_as_of(entries) == day(9)
    assert last_training_as_of(entries, day(8)) == day(5)
    assert last_training_as_of(entries, day(5)) == day(5)
    assert last_training_as_of(entries, day(8), causes={"scheduled", "drift"}) == day(3)
    assert last_training_as_of(entries, day(2)) is None
    assert last_training_as_of([]) is None


def test_how_far_time_has_come() -> None:
    entries = ledger_of(("run", 4, {}), ("drift", 9, {}), ("run", 2, {}))
    timeless = draft("m", "run", {}).at(4, "ab" * 32, day(31))
    assert latest_as_of([*entries, timeless]) == day(9)
    assert latest_as_of([timeless]) is None
