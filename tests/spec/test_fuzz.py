"""The short version of ``python -m tests.fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fuzz
from tidemill.spec.errors import SpecError


def test_mutated_specs_are_sound_or_refused_at_a_place(tmp_path: Path) -> None:
    world = fuzz.World(tmp_path / "project")
    counts, failed = fuzz.run(world, 300, 20_130_701)
    assert failed == [], [(folder / "why.txt").read_text() for folder in failed]
    assert sum(counts.values()) >= 250
    assert counts["refused"] > counts["sound"] > 0


def test_what_fails_is_seen_made_small_and_written_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fuzz, "judge", judge)
    counts, (folder,) = fuzz.run(fuzz.World(tmp_path / "project"), 5, 1)
    assert sum(counts.values()) == 0
    assert (folder / "spec.yaml").read_bytes()
    assert "(0, [], False)" in (folder / "why.txt").read_text()


@pytest.mark.parametrize(
    ("line", "column", "length"), [(0, 1, 1), (3, 1, 1), (1, 0, 1), (1, 14, 1), (1, 1, 14), (1, 12, 2)]
)
def test_a_place_outside_of_the_file_is_seen(tmp_path: Path, line: int, column: int, length: int) -> None:
    world = fuzz.World(tmp_path / "project")
    error = SpecError("dags/spec.yaml", line, column, "", "wrong", length=length, source="tidemill: 1")
    with pytest.raises(AssertionError):
        fuzz._check_error(error, world, b"tidemill: 1\n")
