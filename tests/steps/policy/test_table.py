"""The table of the guards says the same in the documentation as in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.spec.test_load import BASE
from tests.steps.policy.making import History, day
from tidemill.project import Project
from tidemill.records import Cause
from tidemill.spec.monitoring import Retrain
from tidemill.steps.policy import GUARDS
from tidemill.verdict import judge

PAGE = Path(__file__).parents[3] / "docs" / "retraining.md"
EVERYTHING = {
    "cooldown": "2 d", "at_most": "1 per year", "budget": "1 USD per year", "min_rows": 10,
    "quiet_hours": [{"from": "00:00", "to": "24:00"}], "veto": ["data_quality"], "stop_after": 1,
}  # fmt: skip


def test_the_documents_table_is_the_codes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| ([\w ]+) \| ([\w ]+) \|", PAGE.read_text(), re.M)
    assert rows == [(guard.name, guard.event, guard.scheduled, guard.manual) for guard in GUARDS]


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("cause", ["scheduled", "asset", "manual"])
def test_who_is_held_back_by_what(cause: Cause, counted: bool) -> None:
    """Every guard has a reason against this run; which ones are told depends on who asked alone."""
    history = History()
    run = history.went(day(7, 2))
    history.ended(day(7, 2), run, "refused", "1")
    history.paid(day(7, 2), "2", run=run)
    at = day(7, 1)
    history.went(at)
    history.went(day(6, 30, 1))
    found = history.decide(
        at, cause, reasons=(), rows=3, findings=("a is missing",), count_scheduled=counted, **EVERYTHING
    )
    told = {check.guard: check.verdict for check in found.checks}
    always = {"budget": "refuse", "min_rows": "refuse"}
    assert (
        told
        == {
            "asset": {g.name: "refuse" for g in GUARDS if g.name != "cooldown"},  # `order` speaks of what is later
            "scheduled": {**always, **({"at_most": "refuse"} if counted else {})},
            "manual": {**always, "budget": "warn"},
        }[cause]
    )


def test_every_key_of_the_policy_is_some_guards_or_explained() -> None:
    text = PAGE.read_text()
    for key in Retrain.model_fields:
        assert re.search(rf"[`.]{key}[`:]", text), key


def test_the_documents_example_is_sound(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    before, platform, after = BASE.partition("platform: {provider: local}\n")
    assert platform
    (tmp_path / "dags").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    (tmp_path / "dags" / "churn.yaml").write_text(before + after + example)
    verdict = judge(tmp_path / "dags" / "churn.yaml", tmp_path / "dags", Project.of(tmp_path / "dags"))
    assert [error.render() for error in verdict.errors] == []
    written = verdict.plans[0].spec["retrain"]
    assert Retrain.model_fields.keys() - written.keys() == set()  # it has everything in it
