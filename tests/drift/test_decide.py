"""From distances to decisions: what is significant, what has drifted, and when the data as a whole has."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from tidemill.drift.critical import Sizes
from tidemill.drift.decide import Evidence, Rules, judge
from tidemill.drift.percent import percent
from tidemill.spec.monitoring import Drift

ROWS = (10_000, 10_000)


def column(name: str = "x", p: float | None = 1e-9, n: int = 10_000, bins: int = 11, **known: Any) -> Evidence:
    """A column with the PSI 0.5 unless said otherwise, and no other distance."""
    kind, note, judged = known.pop("kind", "numeric"), known.pop("note", ""), known.pop("judged", True)
    distances = {"psi": 0.5, **known}
    return Evidence(
        name=name,
        kind=kind,
        distances=distances,
        p_value=p,
        sizes=Sizes(n, n, bins),
        notes={"psi": note} if note else {},
        judged=judged,
    )


def test_a_small_change_that_is_certain_is_significant_and_has_not_drifted() -> None:
    [found] = judge([column(psi=0.009)], ROWS, Rules()).columns
    assert (found.significant, found.drifted, found.judged) == (True, False, True)
    assert found.bound == 0.2


def test_a_large_distance_that_chance_explains_has_not_drifted() -> None:
    [found] = judge([column(p=0.4)], ROWS, Rules()).columns
    assert (found.significant, found.drifted) == (False, False)


def test_what_chance_gives_in_many_bins_is_no_drift_even_if_something_has_changed() -> None:
    verdict = judge([column(bins=1000, n=2000, psi=0.9)], (2000, 2000), Rules())
    [found] = verdict.columns
    assert found.significant
    assert not found.drifted
    assert found.bound == pytest.approx(1.073, abs=0.01)
    assert "chance alone gives psi up to 1.07 with 1,000 bins and 2,000 rows" in found.note
    assert judge([column(bins=1000, n=2000, psi=1.1)], (2000, 2000), Rules()).drifted


def test_the_columns_are_tested_together() -> None:
    many = [column(f"c{i}", p=0.5) for i in range(24)]
    assert judge([column(p=0.01)], ROWS, Rules()).drifted
    found = judge([column(p=0.01), *many], ROWS, Rules())
    assert not found.columns[0].significant
    assert judge([column(p=0.01), *many], ROWS, Rules(alpha=0.5)).columns[0].significant


def test_the_share_is_of_the_columns_that_could_be_judged() -> None:
    others = [column("calm", p=0.9), column("time", judged=False, psi=3.0), column("odd", psi=None, note="mixed")]
    verdict = judge([column(), *others], ROWS, Rules(share=0.5))
    assert (verdict.share_drifted, verdict.drifted) == (0.5, True)
    assert not judge([column(), *others], ROWS, Rules(share=0.51)).drifted
    assert [c.name for c in verdict.worst_first] == ["x", "calm", "time", "odd"]
    assert not verdict.columns[2].drifted
    assert verdict.why() == "1 of 2 columns has drifted (50%; drift is from 50% on): x psi 0.500"


def test_a_share_of_zero_still_needs_a_column() -> None:
    assert not judge([column(p=1.0)], ROWS, Rules(share=0)).drifted
    assert judge([column()], ROWS, Rules(share=0)).drifted


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((49, 9000), "the reference has 49 rows"),
        ((500, 1), "the current data has 1 row, "),
        ((0, 0), "the reference has no rows and the current data has no rows"),
    ],
)
def test_too_few_rows_are_not_judged(rows: tuple[int, int], said: str) -> None:
    verdict = judge([column()], rows, Rules())
    assert (verdict.drifted, verdict.share_drifted) == (False, None)
    assert verdict.why().startswith(f"drift is not judged: {said}")
    assert verdict.columns[0].psi == 0.5
    assert not verdict.columns[0].significant
    assert not judge([column(n=200)], (200, 200), Rules(min_rows=201)).judged


def test_nothing_to_judge() -> None:
    assert judge([], ROWS, Rules()).why() == "drift is not judged: the two have no column in common"
    odd = judge([column(psi=None, p=None)], ROWS, Rules())
    assert odd.share_drifted is None
    assert odd.why() == "drift is not judged: none of 1 columns could be compared"


def test_importance_decides_what_counts() -> None:
    columns = [column("big"), column("small", p=1.0), column("unknown", p=1.0)]
    verdict = judge(columns, ROWS, Rules(share=0.6), {"big": 3.0, "small": 1.0, "gone": 9.0})
    assert (verdict.share_drifted, verdict.drifted) == (0.75, True)
    assert verdict.notes == ("without an importance, and so without weight: unknown",)
    assert "75% of the importance" in verdict.why()
    assert judge(columns, ROWS, Rules(share=0.6), {"big": 1.0, "small": 9.0}).share_drifted == 0.1


@pytest.mark.parametrize(
    "useless", [{}, {"big": 0.0}, {"big": -1.0, "small": -2.0}, {"big": math.nan}, {"big": math.inf}]
)
def test_importances_that_say_nothing_weigh_all_equally(useless: dict[str, float]) -> None:
    verdict = judge([column("big"), column("small", p=1.0)], ROWS, Rules(), useless)
    assert verdict.share_drifted == 0.5
    assert not verdict.weighted
    assert "all count equally" in verdict.notes[0]


def test_an_unimportant_column_that_drifts_is_no_alarm() -> None:
    verdict = judge([column("noise"), column("signal", p=1.0)], ROWS, Rules(share=0), {"signal": 1.0})
    assert verdict.columns[0].drifted
    assert not verdict.drifted


@pytest.mark.parametrize(
    ("rules", "numeric", "categorical"),
    [
        (Rules(), ("psi", 0.2), ("psi", 0.2)),
        (Rules(at_least=0.3), ("psi", 0.3), ("psi", 0.3)),
        (Rules(distance="hellinger"), ("hellinger", 0.1), ("hellinger", 0.1)),
        (Rules(distance="wasserstein", at_least=0.4), ("wasserstein", 0.4), ("js", 0.1)),
        (Rules(distance="ks", categorical="linf"), ("ks", 0.1), ("linf", 0.1)),
        (Rules(categorical="js", categorical_at_least=0.3), ("psi", 0.2), ("js", 0.3)),
    ],
)
def test_the_rule_of_a_kind(rules: Rules, numeric: tuple[str, float], categorical: tuple[str, float]) -> None:
    assert rules.of_kind("numeric") == rules.of_kind("text") == numeric
    assert rules.of_kind("categorical") == rules.of_kind("boolean") == categorical
    [found] = judge([column(kind="categorical", js=0.5, linf=0.5, hellinger=0.5)], ROWS, rules).columns
    assert found.judged_by == categorical[0]
    assert found.drifted


def test_the_rules_of_a_spec() -> None:
    drift = Drift.model_validate(
        {"distance": "ks", "at_least": 0.15, "categorical": {"distance": "linf"}, "share": "20%", "alpha": "1%"}
    )
    assert Rules.of(drift) == Rules(distance="ks", at_least=0.15, categorical="linf", share=0.2, alpha=0.01)
    assert Rules.of(Drift(), min_rows=7) == Rules(min_rows=7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 1.1},
        {"alpha": -0.1},
        {"distance": "cosine"},
        {"at_least": 0.0},
        {"at_least": math.nan},
        {"categorical": "ks"},
    ],
)
def test_rules_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Rules(**wrong)


def test_a_long_list_is_told_by_its_worst() -> None:
    columns = [column(f"c{i}", psi=0.3 + i / 10) for i in range(8)]
    assert judge(columns, ROWS, Rules()).why() == (
        "8 of 8 columns have drifted (100%; drift is from 30% on): "
        "c7 psi 1.000, c6 psi 0.900, c5 psi 0.800, c4 psi 0.700, c3 psi 0.600 and 3 more"
    )


def test_shares_are_not_rounded_to_none_or_all() -> None:
    assert [percent(s) for s in (0, 0.0001, 0.304, 0.5, 0.9999, 1)] == ["0%", "<0.1%", "30.4%", "50%", ">99.9%", "100%"]


def test_a_column_is_plain_json() -> None:
    found = judge([column(psi=None, p=None, note="why")], ROWS, Rules()).columns[0]
    assert found.to_json() == dataclasses.asdict(found)
    assert found.severity < 0
