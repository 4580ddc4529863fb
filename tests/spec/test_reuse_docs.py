"""``docs/reuse.md``: its examples are a project, and that is sound in every environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidemill.discovery import find
from tidemill.project import Project
from tidemill.verdict import Verdict, judge

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reuse.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (dags/\S+)\n(.*?)```", DOCUMENT, re.DOTALL))


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    files = {"include/flights/train.py": "def train(context): ...\n"} | FILES
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "dags"


def verdicts(dags: Path) -> dict[str, Verdict]:
    return {file.stem: judge(file, dags, Project.of(dags)) for file, _ in find(dags)}


def test_every_example_is_one(dags: Path) -> None:
    assert len(FILES) == DOCUMENT.count("```yaml")
    assert set(verdicts(dags)) == {"delays", "nightly", "strict", "carriers"}


def test_the_examples_are_sound_and_do_what_is_said(dags: Path) -> None:
    found = verdicts(dags)
    assert {name: verdict.errors for name, verdict in found.items()} == dict.fromkeys(found, ())
    plans = {plan.pipeline: plan for verdict in found.values() for plan in verdict.plans}
    assert set(plans) == {"delays", "nightly", "strict", "carriers.AA", "carriers.UA"}
    assert plans["delays"].tags == ("flights",)
    assert plans["delays"].description == "Late departures, kept in s3://acme-dev."
    assert plans["nightly"].spec.get("schedule") is None
    assert plans["strict"].spec["promote"]["when"]["roc_auc"]["at_least"] == 0.8
    assert plans["carriers.UA"].spec["data"]["source"] == "include/flights/UA.parquet"
    assert plans["carriers.UA"].description == "The delays of United Airlines."


def test_the_environment_of_the_example_does_what_is_said(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ENVIRONMENT", "prod")
    monkeypatch.delenv("TIDEMILL_ENVIRONMENT", raising=False)
    found = verdicts(dags)
    assert not any(verdict.errors for verdict in found.values())
    (plan,) = found["nightly"].plans
    assert plan.spec["schedule"] == "daily"
    assert plan.spec["promote"]["when"]["roc_auc"]["at_least"] == 0.7
