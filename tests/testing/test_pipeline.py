"""Loading pipelines and building their DAGs: what is right, and what a test is told where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tidemill.testing import Pipeline, load

STEPS = "tidemill: 1\nsteps:\n  a: {python: 'include.code:a'}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The DAG folder of a project with one function."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "__init__.py").touch()
    (tmp_path / "include" / "code.py").write_text("def a(): return 1\n")
    (tmp_path / "dags").mkdir()
    return tmp_path / "dags"


def test_what_is_known_of_a_pipeline(churn: Pipeline, model_project: Path) -> None:
    assert churn.id == "churn"
    assert churn.file == model_project / "dags" / "churn.yaml"
    assert [dag.kind for dag in churn.dags] == ["training", "monitor"]
    assert churn.spec["promote"]["alias"] == "champion"
    assert churn.place.project.root == model_project


def test_a_broken_spec_is_told_as_validate_tells_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text(STEPS + "  b: {python: 'include.code:b', afterr: a}\n")
    said = CommandLine(monkeypatch, capsys)("validate", "dags/bad.yaml", cwd=folder.parent)
    with pytest.raises(AssertionError) as caught:
        load("dags/bad.yaml")
    assert str(caught.value) == said.out.rstrip("\n")
    assert "dags/bad.yaml:4" in said.out


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("none.yaml", {}, "there is no "),
        ("good.yaml", {"environment": "prod"}, 'no file knows the environment "prod"'),
        ("good.yaml", {"row": "a"}, 'has no row "a"; it has no matrix'),
        ("rows.yaml", {}, "say which with --row; its rows: dk, se"),
    ],
)
def test_what_is_not_there(folder: Path, name: str, given: dict[str, str], message: str) -> None:
    (folder / "good.yaml").write_text(STEPS)
    (folder / "rows.yaml").write_text(STEPS + "matrix: {dk: {}, se: {}}\n")
    with pytest.raises(AssertionError) as caught:
        load(folder / name, **given)
    assert message in str(caught.value)


def test_an_environment_and_a_row(folder: Path) -> None:
    text = STEPS + "matrix: {dk: {times: 1}, se: {times: 2}}\nenvironments: {prod: {defaults: {pool: '${row.id}'}}}\n"
    (folder / "rows.yaml").write_text(text.replace("code:a'", "code:a', retries: '${row.times}'"))
    before = dict(os.environ)
    pipeline = load(folder / "rows.yaml", environment="prod", row="se")
    assert os.environ == before
    assert pipeline.id == "rows.se"
    assert pipeline.dag().task("a").settings == {"retries": 2}
    assert pipeline.dag().plan.defaults["pool"] == "se"


def test_a_dag_of_another_kind(flow: Pipeline) -> None:
    with pytest.raises(AssertionError, match=r'flow \(dags/flow\.yaml\) has no DAG "training"; it has "workflow"'):
        flow.dag("training")


def test_the_real_dag(flow: Pipeline, churn: Pipeline) -> None:
    built = flow.build()
    assert built.dag_id == "flow"
    assert type(built.task_dict["big"]).__name__ == "BashOperator"
    assert built.task_dict["big"].upstream_task_ids == {"choose", "read"}
    assert churn.build("monitor").dag_id == "churn.monitor"


def test_what_cannot_be_built_is_told_with_its_place(folder: Path) -> None:
    (folder / "delay.yaml").write_text(
        "tidemill: 1\nsteps:\n  wait:\n    operator: TimeDeltaSensor\n    with: {delta: 1 min, mode: never}\n"
    )
    with pytest.raises(AssertionError) as caught:
        load(folder / "delay.yaml").build()
    assert str(caught.value).startswith("dags/delay.yaml:3: steps.wait: TimeDeltaSensor refuses its arguments: ")


def test_each_project_has_its_own_include(folder: Path, flow: Pipeline) -> None:
    import include

    (folder / "other.yaml").write_text(STEPS)
    other = load(folder / "other.yaml")
    assert other.run_step("a").value == 1
    assert flow.run_step("where").value == str(flow.place.project.root / "include" / "__init__.py")
    assert other.build().task_dict["a"].python_callable() == 1
    assert sys.modules["include"] is include


def test_importing_it_costs_next_to_nothing() -> None:
    script = (
        "import sys, pytest; before = set(sys.modules); import tidemill.testing.plugin, tidemill.testing;"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tidemill', 'tidemill.testing', 'tidemill.testing.plugin']"
