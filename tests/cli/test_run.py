"""`tidemill run`: the real command, on a project that `tidemill new` wrote, with Airflow's in-process runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.cli.local_stack import LocalStack, birth_of, password_file, servers_file, write_private
from tidemill.cli.locate import UsageProblem
from tidemill.cli.run import _choose_servers
from tidemill.project import Project

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


def _tidemill(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "MLFLOW"))}
    clean |= environment
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


def test_a_folder_that_cannot_be_written_is_told_without_a_stack_trace(project: Path) -> None:
    (project / "file").write_text("no folder")
    done = _tidemill(project, "run", "dags/churn.yaml", TIDEMILL_STATE=str(project / "file" / "state"))
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "TIDEMILL_STATE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_for_trying_out_keeps_away_from_the_servers_of_the_environment(project: Path) -> None:
    nowhere = {"AIRFLOW_CONN_TIDEMILL_LEDGER": "mysql://nowhere/x", "AIRFLOW_CONN_TIDEMILL_MLFLOW": "ftp://nowhere"}
    done = _tidemill(project, "run", "dags/churn.yaml", "--dag", "monitor", "--as-of", "2025-09-01", **nowhere)
    assert done.returncode == 0, done.stderr
    live = _tidemill(project, "run", "dags/churn.yaml", "--dag", "monitor", "--live", **nowhere)
    assert live.returncode == 1
    assert "the ledger needs postgres or sqlite" in live.stderr


def test_a_live_run_wants_the_server_that_hands_out_the_projects_models(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, name = project / "stack-state", "AIRFLOW_CONN_TIDEMILL_MLFLOW"
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    of_the_project = Project(project, state)
    _choose_servers(of_the_project, live=True)
    assert name not in os.environ  # no server ever had this state: the store is a file
    LocalStack("http://127.0.0.1:1", "http://127.0.0.1:2", password="x").note(state)
    write_private(password_file(state), json.dumps({"admin": "x"}))
    with pytest.raises(UsageProblem, match="is down; `make run` starts it"):
        _choose_servers(of_the_project, live=True)
    mlflow = {"name": "mlflow", "pid": os.getpid(), "birth": birth_of(os.getpid())}
    servers_file(state).write_text(json.dumps({"servers": [mlflow]}))
    _choose_servers(of_the_project, live=True)
    assert os.environ[name] == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "dags/nothing.yaml"], "there is no dags/nothing.yaml"),
        (["run", "dags"], "is a folder"),
        (["run", "dags/churn.yaml", "--approve", "--reject"], "exclude each other"),
        (["run", "dags/churn.yaml", "--dag", "scoring"], "churn has no scoring"),
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
