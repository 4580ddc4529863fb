"""Verdicts without a change, and with a small one: few replications of what benchmarks/_calibration.py does in full."""

from __future__ import annotations

import pytest
from scipy import stats

from benchmarks._calibration import Calibration, calibrate

REPLICATIONS = 30


@pytest.fixture(scope="module")
def found() -> Calibration:
    return calibrate(REPLICATIONS)


def at_most(share: float) -> int:
    """The most that so many replications give with a probability of 99.9 % if each gives one with this share."""
    return int(stats.binom.ppf(0.999, REPLICATIONS, share))


def test_without_a_change_there_is_rarely_an_alarm(found: Calibration) -> None:
    assert found.alarms == 0
    assert found.strict_alarms <= found.significant <= at_most(0.05)


def test_a_small_change_is_seen_and_is_no_drift(found: Calibration) -> None:
    assert found.seen_shift >= REPLICATIONS - at_most(0.1)
    assert found.seen_category >= REPLICATIONS - at_most(0.1)
    assert found.drifted_shift == 0
