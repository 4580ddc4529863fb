"""A short form of the chaos run; `python -m tests.chaos --runs 200` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos import chaos
from tests.chaos.lost import answers
from tests.ledger.conftest import postgres_binaries

# An Airflow of its own for minutes, with PostgreSQL and every emulator.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1200)]


@pytest.mark.skipif(postgres_binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_a_kill_in_the_life_of_every_run_doubles_and_loses_nothing(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, 6, 1, ["batch", "vertex", "kubernetes"], 2, print)
    assert [life.told() for life in outcome.lives if life.state != "success"] == []
    assert sum(life.killed is not None for life in outcome.lives) == 6
    found = outcome.found
    assert (found.duplicates, found.lost_jobs, found.lost_records) == ([], [], [])
    assert found.jobs >= len(outcome.lives)


def test_answers_that_are_lost_double_no_job(tmp_path: Path) -> None:
    assert answers(tmp_path, ["batch", "vertex"], 5, print) == 0
