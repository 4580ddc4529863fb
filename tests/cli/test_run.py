"""`tidemill run`: the real command, on a project that `tidemill new` wrote, with Airflow's in-process runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project whose pipeline asks a person."""
    root = tmp_path_factory.mktemp("project")
    made = _tidemill(root, "new", "churn")
    assert made.returncode == 0, made.stderr
    spec = root / "dags" / "churn.yaml"
    spec.write_text(spec.read_text().replace("approval: automatic", "approval: manual"))
    return root


def _tidemill(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "MLFLOW"))}
    command = [sys.executable, "-m", "tidemill.cli.main", *arguments]
    return subprocess.run(
        command, cwd=root, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
    )


class TestApproval:
    """One after the other in one project: each run finds what the ones before it left."""

    def test_with_nobody_to_ask_it_stops_with_3_and_says_how_to_go_on(self, project: Path) -> None:
        done = _tidemill(project, "run", "dags/churn.yaml", "--as-of", "2025-11-01")
        assert done.returncode == 3, done.stderr
        assert "tidemill promote churn VERSION --state" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_rejection_is_a_recorded_refusal(self, project: Path) -> None:
        done = _tidemill(project, "run", "dags/churn.yaml", "--as-of", "2025-12-01", "--reject", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["tasks"]["promote"]["state"] == "success"
        assert "rejected by" in json.dumps(told["summary"])
        assert _history(project)["champion"] is None

    def test_an_approval_promotes(self, project: Path) -> None:
        done = _tidemill(project, "run", "dags/churn.yaml", "--as-of", "2026-01-01", "--approve")
        assert done.returncode == 0, done.stderr
        found = _history(project)
        (promoted,) = [e for e in found["entries"] if e["kind"] == "promotion" and e["body"]["outcome"] == "promoted"]
        assert found["champion"] == promoted["body"]["version"]
        assert promoted["body"]["approval"]["answer"] == "Approve"

    def test_the_live_ledger_is_untouched(self, project: Path) -> None:
        assert not (project / ".tidemill" / "ledger.db").exists()


def _history(project: Path) -> dict[str, object]:
    done = _tidemill(project, "history", "churn", "--state", ".tidemill/try/churn", "--json", "--verify")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    assert found["problems"] == []
    return found


def test_a_failing_function_is_told_without_a_stack_trace(project: Path) -> None:
    code = project / "include" / "churn" / "train.py"
    before = code.read_text()
    code.write_text("def train(context):\n    raise ValueError('no rows I like')\n")
    try:
        done = _tidemill(project, "run", "dags/churn.yaml", "--as-of", "2025-10-01", "--approve")
    finally:
        code.write_text(before)
    assert done.returncode == 1
    assert "no rows I like" in done.stderr
    assert "last-run.log" in done.stderr
    assert 'File "' + str(Path(sys.prefix)) not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "dags/nothing.yaml"], "there is no dags/nothing.yaml"),
        (["run", "dags"], "is a folder"),
        (["run", "dags/churn.yaml", "--approve", "--reject"], "exclude each other"),
        (["run", "dags/churn.yaml", "--dag", "scoring"], 'there is no DAG "scoring"'),
    ],
)
def test_misuse_is_told(project: Path, arguments: list[str], said: str) -> None:
    done = _tidemill(project, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_one_row_of_a_matrix_runs_in_the_chosen_environment(project: Path) -> None:
    spec = (project / "dags" / "churn.yaml").read_text().replace("approval: manual", "approval: automatic")
    spec = spec.replace("params: {C: 1.0}", "params: {C: '${row.c}'}")
    spec += "matrix: {low: {c: 0.1}, high: {c: none}}\nenvironments: {prod: {promote: {alias: live}}}\n"
    (project / "dags" / "rows.yaml").write_text(spec)
    done = _tidemill(project, "run", "dags/rows.yaml", "--row", "low", "--environment", "prod", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tasks"]["promote"]["state"] == "success"
    assert (project / ".tidemill" / "try" / "rows.low").is_dir()
    head = ["history", "rows.low", "--state", ".tidemill/try/rows.low", "--verify", "--json"]
    # The head of the log is on the version that the environment's alias points at.
    assert json.loads(_tidemill(project, *head, "--alias", "live").stdout)["problems"] == []
