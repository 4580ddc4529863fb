"""The gate's conditions: each met, missed, and impossible to judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from tidemill.records import Evaluation, Scores, Slice
from tidemill.spec.models import Gate
from tidemill.steps.gate import Verdict, judge


def judged(
    when: Mapping[str, Any],
    challenger: Mapping[str, float | None],
    *,
    champion: Mapping[str, float | None] | None = None,
    slices: tuple[Slice, ...] = (),
    **more: Any,
) -> Verdict:
    evaluation = Evaluation(
        data_version="d",
        run_id="r",
        rows=1000,
        challenger=Scores(metrics=challenger, slices=slices),
        champion_version=more.pop("champion_version", "1" if champion is not None else None),
        champion=None if champion is None else Scores(metrics=champion),
        **more,
    )
    return judge({metric: Gate.model_validate(gate) for metric, gate in when.items()}, evaluation)


def part(value: str, rows: int, auc: float | None, unjudged: str | None = None) -> Slice:
    return Slice(column="carrier", value=value, rows=rows, metrics={"roc_auc": auc, "log_loss": auc}, unjudged=unjudged)


def test_bounds_are_inclusive_and_say_their_numbers() -> None:
    assert judged({"roc_auc": {"at_least": 0.65}}, {"roc_auc": 0.65}).passes == (
        "roc_auc is 0.65, at least 0.65 as asked for",
    )
    assert judged({"log_loss": {"at_most": 0.6}}, {"log_loss": 0.6}).passed


def test_a_missed_bound_refuses_with_the_difference_visible() -> None:
    found = judged({"roc_auc": {"at_least": 0.65}}, {"roc_auc": 0.6499999999})
    assert not found.passed
    assert found.refusals == ("roc_auc is 0.6499999999, below the 0.65 asked for (at least)",)
    assert "above the 0.6" in judged({"log_loss": {"at_most": 0.6}}, {"log_loss": 0.7}).refusals[0]


def test_all_conditions_of_all_metrics_must_hold_and_all_reasons_are_given() -> None:
    found = judged(
        {"roc_auc": {"at_least": 0.65}, "log_loss": {"at_most": 0.5}, "brier": {"at_most": 0.2}},
        {"roc_auc": 0.7, "log_loss": 0.6, "brier": 0.3},
    )
    assert [r.split()[0] for r in found.refusals] == ["log_loss", "brier"]
    assert [p.split()[0] for p in found.passes] == ["roc_auc"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gate", [{"at_least": -1e9}, {"at_most": 1e9}, {"gain": {"at_least": -1e9}}])
def test_a_metric_that_does_not_exist_refuses_whatever_is_asked(value: float | None, gate: Mapping[str, Any]) -> None:
    found = judged({"roc_auc": gate}, {"roc_auc": value}, champion={"roc_auc": 0.5})
    assert not found.passed
    assert "does not exist (NaN) on the 1,000 rows" in found.refusals[0]


def test_a_metric_that_was_not_computed_refuses() -> None:
    found = judged({"roc_auc": {"at_least": 0.1}}, {"log_loss": 0.1})
    assert found.refusals == ("roc_auc was not computed on the 1,000 rows of the holdout",)


def test_a_gate_that_asks_for_nothing_does_not_pass() -> None:
    assert not judged({"roc_auc": {}}, {"roc_auc": 0.9}).passed


class TestGain:
    def test_is_positive_for_an_improvement_whatever_the_direction(self) -> None:
        gate = {"roc_auc": {"gain": {"at_least": 0.01}}, "log_loss": {"gain": {"at_least": 0.01}}}
        better = judged(gate, {"roc_auc": 0.72, "log_loss": 0.5}, champion={"roc_auc": 0.7, "log_loss": 0.6})
        assert better.passed
        assert better.passes[1] == (
            "log_loss gains +0.1 (0.5 against 0.6 of champion version 1), at least +0.01 as asked for"
        )
        worse = judged(gate, {"roc_auc": 0.7, "log_loss": 0.6}, champion={"roc_auc": 0.72, "log_loss": 0.5})
        assert len(worse.refusals) == 2
        assert "roc_auc gains -0.02" in worse.refusals[0]

    def test_of_zero_is_enough_for_at_least_zero(self) -> None:
        assert judged({"roc_auc": {"gain": {"at_least": 0}}}, {"roc_auc": 0.7}, champion={"roc_auc": 0.7}).passed

    def test_a_loss_may_be_allowed(self) -> None:
        assert judged({"roc_auc": {"gain": {"at_least": -0.05}}}, {"roc_auc": 0.7}, champion={"roc_auc": 0.74}).passed

    def test_without_champion_passes_only_if_asked_for_and_bounded(self) -> None:
        ask = {"at_least": 0.0, "without_champion": "pass"}
        found = judged({"roc_auc": {"at_least": 0.6, "gain": ask}}, {"roc_auc": 0.7})
        assert found.passed
        assert any("no_champion" in p for p in found.passes)
        unbounded = judged({"roc_auc": {"gain": ask}}, {"roc_auc": 0.7})
        assert "no_champion" in unbounded.refusals[0]
        assert "an absolute bound is needed" in unbounded.refusals[0]
        unasked = judged({"roc_auc": {"at_least": 0.6, "gain": {"at_least": 0.0}}}, {"roc_auc": 0.7})
        assert "without_champion is refuse" in unasked.refusals[0]

    def test_a_bound_on_another_metric_does_not_stand_beside_it(self) -> None:
        ask = {"gain": {"at_least": 0.0, "without_champion": "pass"}}
        assert not judged({"roc_auc": ask, "brier": {"at_most": 1}}, {"roc_auc": 0.7, "brier": 0.1}).passed

    def test_a_champion_that_is_not_comparable_refuses_and_says_so(self) -> None:
        found = judged(
            {"roc_auc": {"at_least": 0.6, "gain": {"at_least": 0.0, "without_champion": "pass"}}},
            {"roc_auc": 0.99},
            champion_version="3",
            not_comparable="its training rows overlap the holdout",
        )
        assert found.refusals == (
            "roc_auc: champion version 3 is not comparable: its training rows overlap the holdout",
        )

    def test_a_champion_without_scores_is_not_comparable_either(self) -> None:
        found = judged({"roc_auc": {"gain": {"at_least": -1}}}, {"roc_auc": 0.99}, champion_version="3")
        assert "champion version 3 is not comparable" in found.refusals[0]

    @pytest.mark.parametrize("old", [{"roc_auc": None}, {"roc_auc": math.nan}, {}])
    def test_a_champion_without_the_metric_refuses(self, old: Mapping[str, float | None]) -> None:
        found = judged({"roc_auc": {"gain": {"at_least": -1}}}, {"roc_auc": 0.7}, champion=old)
        assert "has none on the same rows" in found.refusals[0]

    def test_no_gain_asked_for_needs_no_comparable_champion_but_notes_it(self) -> None:
        found = judged({"roc_auc": {"at_least": 0.6}}, {"roc_auc": 0.7}, champion_version="3", not_comparable="gone")
        assert found.passed
        assert found.notes == ("champion version 3 is not comparable: gone",)


class TestWorstSlice:
    ASK: Mapping[str, Any] = {"roc_auc": {"worst_slice": {"at_least": 0.55, "min_rows": 500}}}

    def test_the_worst_of_those_with_enough_rows_decides(self) -> None:
        slices = (part("UA", 900, 0.7), part("AA", 500, 0.56), part("OO", 29, 0.2))
        found = judged(self.ASK, {"roc_auc": 0.7}, slices=slices)
        assert found.passes == (
            "roc_auc of the worst of 2 slices, carrier=AA (500 rows), is 0.56, at least 0.55 as asked for",
        )
        assert found.notes == ("roc_auc: slices not judged: carrier=OO (29 rows, fewer than 500)",)
        assert (
            "carrier=AA" in judged(self.ASK, {"roc_auc": 0.7}, slices=(*slices[:1], part("AA", 500, 0.5))).refusals[0]
        )

    def test_the_worst_is_the_highest_where_lower_is_better(self) -> None:
        ask = {"log_loss": {"worst_slice": {"at_most": 0.6, "min_rows": 1}}}
        slices = (part("UA", 900, 0.4), part("AA", 900, 0.7))
        assert "carrier=AA" in judged(ask, {"log_loss": 0.5}, slices=slices).refusals[0]

    def test_one_class_is_not_judged(self) -> None:
        slices = (part("UA", 900, 0.7), part("HA", 900, None, "one class"))
        found = judged(self.ASK, {"roc_auc": 0.7}, slices=slices)
        assert found.passed
        assert found.notes == ("roc_auc: slices not judged: carrier=HA (900 rows, one class)",)

    def test_all_unjudged_is_a_refusal(self) -> None:
        slices = (part("OO", 29, 0.9), part("HA", 900, None, "one class"))
        found = judged(self.ASK, {"roc_auc": 0.7}, slices=slices)
        assert "no slice could be judged" in found.refusals[0]
        assert "carrier=OO (29 rows" in found.refusals[0]

    def test_no_slices_at_all_is_a_refusal(self) -> None:
        assert "there are no slices" in judged(self.ASK, {"roc_auc": 0.7}).refusals[0]

    @pytest.mark.parametrize("value", [None, math.nan])
    def test_a_slice_whose_metric_does_not_exist_for_no_known_reason_refuses(self, value: float | None) -> None:
        found = judged(self.ASK, {"roc_auc": 0.7}, slices=(part("UA", 900, 0.7), part("AA", 900, value)))
        assert "does not exist (NaN) on slice carrier=AA" in found.refusals[0]

    def test_thousands_of_unjudged_slices_are_counted_not_listed(self) -> None:
        slices = (part("UA", 900, 0.7), *(part(f"N{i}", 3, 0.5) for i in range(3000)))
        note = judged(self.ASK, {"roc_auc": 0.7}, slices=slices).notes[0]
        assert "and 2,950 more" in note
        assert len(note) < 5000
