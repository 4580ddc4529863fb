"""``tidemill history``, ``promote`` and ``rollback``: a model's story, and what is said where there is none."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import CommandLine
from tests.mlflow_store import copy_store, store_template  # noqa: F401 - a fixture
from tests.spec.test_load import BASE
from tidemill.cli.local_stack import LocalStack, birth_of, servers_file
from tidemill.cli.registry import mlflow_of
from tidemill.ledger import Ledger, open_ledger
from tidemill.project import Project

DAY = timedelta(days=1)
BEGIN = datetime(2013, 7, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path, store_template: Path) -> Path:  # noqa: F811
    """A project with one pipeline, an empty registry and no ledger yet."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "flights.yaml").write_text(BASE)
    copy_store(store_template, project(tmp_path))
    return tmp_path


def project(root: Path) -> Project:
    return Project(root, root / ".tidemill")


def ledger(root: Path, state: str = ".tidemill") -> Ledger:
    (root / state).mkdir(exist_ok=True)
    return open_ledger(f"sqlite:///{root / state / 'ledger.db'}")


def body(**fields: Any) -> dict[str, Any]:
    """The body of an entry, as steps write it."""
    return {"dag_id": "flights", "dag_run": "r1", "pipeline": "flights", "spec_hash": "h", **fields}


def promotion(version: str, outcome: str, *reasons: str) -> dict[str, Any]:
    return body(record="promotion/1", version=version, outcome=outcome, reasons=list(reasons), model="flights")


@pytest.fixture
def told(root: Path) -> Callable[[], None]:
    """Write a story of every kind of entry."""

    def write() -> None:
        scores = {"metrics": {"roc_auc": 0.71234, "log_loss": None}, "slices": []}
        part = {"rows": 1200, "name": "train", "start": "x", "end": "y"}
        story: list[tuple[str, dict[str, Any]]] = [
            ("decision", body(decision="go", cause="scheduled", why=["the schedule"])),
            ("data_version", body(version="0123456789abcdef", train=part, holdout={**part, "rows": 34})),
            ("run", body(run_id="abcdef0123456789", seconds=12.7)),
            ("evaluation", body(challenger=scores, champion=scores, champion_version="3")),
            ("registered", body(version="4")),
            ("approval", body(answer="Approve", by="ada")),
            ("promotion", promotion("4", "promoted", "roc_auc 0.71 is at least 0.65", "by hand: [see 7] [/x]")),
            ("scoring", body(version="4", rows=1234, unscored=0, path="log/as_of=20130701T000000Z")),
            ("scoring", body(version="4", rows=9, unscored=2, path="p")),
            ("drift", body(version="4", why=["5 of 12 columns drifted"])),
            ("drift", body(version="4", why=[])),
            ("drift", body(version=None, why=[])),
            ("promotion", promotion("", "superseded", "the data is the same")),
            ("rollback", body(from_version="4", to_version=None, by="ada", note="")),
        ]
        with ledger(root) as opened:
            for n, (kind, entry) in enumerate(story):
                opened.append("flights", kind, entry, as_of=BEGIN + n * DAY, key=f"{kind}/{n}")

    return write


def test_a_story_is_told_line_by_line(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    said = tidemill("history", "flights", cwd=root)
    assert said.code == 0
    text = " ".join(said.out.split())
    for part in (
        "2013-07-01 decision go: the schedule",
        "data version 0123456789ab: 1,200 rows to learn from, 34 held out",
        "run run abcdef01 in 13 s",
        "log_loss –, roc_auc 0.7123 (champion 3: log_loss –, roc_auc 0.7123)",
        "registered version 4",
        "approval Approve by ada",
        "promotion promoted version 4: roc_auc 0.71 is at least 0.65; by hand: [see 7] [/x]",
        "scoring version 4: 1,234 rows; log/as_of=20130701T000000Z",
        "scoring version 4: 9 rows, 2 of them without a score; p",
        "drift 5 of 12 columns drifted",
        "drift version 4: quiet",
        "drift nothing to judge",
        "promotion superseded: the data is the same",
    ):
        assert part in text
    assert "from version 4 to none by ada" in text


def test_of_a_story_only_the_decisions(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    said = tidemill("history", "flights", "--decisions", cwd=root)
    assert said.code == 0
    assert "2013-07-01 go, asked for by" in " ".join(said.out.split())
    assert "registered" not in said.out
    machine = tidemill("history", "flights", "--decisions", "--json", cwd=root).json
    assert [d["why"] for d in machine["decisions"]] == [["the schedule"]]


def test_a_story_as_json(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    machine = tidemill("history", "flights", "--json", cwd=root).json
    assert machine["model"] == "flights"
    assert machine["champion"] is None  # it was rolled back to none
    assert len(machine["entries"]) == 14
    assert machine["head"] == machine["entries"][-1]["hash"]
    for before, entry in zip(machine["entries"], machine["entries"][1:], strict=False):
        assert entry["prev_hash"] == before["hash"]
    assert machine["entries"][0]["as_of"] == "2013-07-01T00:00:00+00:00"
    assert "problems" not in machine


def test_an_unaltered_log_is_verified(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    said = tidemill("history", "flights", "--verify", cwd=root)
    assert said.code == 0
    assert "verified: 14 entries, unbroken up to " in said.out
    assert tidemill("history", "flights", "--verify", "--json").json["problems"] == []


def test_an_altered_log_is_told_of_and_fails(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    with sqlite3.connect(root / ".tidemill" / "ledger.db") as database:
        (table,) = (
            name
            for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            if "seq" in {column[1] for column in database.execute(f"pragma table_info({name})")}
        )
        database.execute(f"delete from {table} where seq = 3")
    said = tidemill("history", "flights", "--verify", cwd=root)
    assert said.code == 1
    assert said.err.startswith("tidemill: ")
    assert "verified" not in said.out
    assert tidemill("history", "flights", "--verify", "--json").json["problems"]


def test_an_entry_that_cannot_be_read_is_told_of(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    with sqlite3.connect(root / ".tidemill" / "ledger.db") as database:
        database.execute("update tidemill_ledger set payload = cast('{' as blob) where seq = 3")
    for arguments in (["history", "flights", "--verify"], ["history", "flights"]):
        said = tidemill(*arguments, cwd=root)
        assert said.code == 1
        assert "was altered: Entry 3 was changed" in said.err
        assert "Restore it from a backup." in said.err


def test_while_the_local_server_runs_it_is_asked_for_the_registry(
    root: Path, tidemill: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = root / ".tidemill"
    LocalStack("http://127.0.0.1:1", "http://127.0.0.1:2", password="x").note(state)
    local = f"sqlite:///{state / 'mlflow' / 'mlflow.db'}"
    assert mlflow_of(project(root)).uri == local
    for birth, uri in (("another process", local), (birth_of(os.getpid()), "http://127.0.0.1:2")):
        servers = [
            {"name": "scheduler", "pid": 1, "birth": "x"},
            {"name": "mlflow", "pid": os.getpid(), "birth": birth},
        ]
        servers_file(state).write_text(json.dumps({"servers": servers}))
        assert mlflow_of(project(root)).uri == uri
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMILL_MLFLOW", "http://mlflow.example.com:5000")
    assert mlflow_of(project(root)).uri == "http://mlflow.example.com:5000"


def test_a_state_folder_that_is_named_is_looked_at_and_not_what_connections_name(
    root: Path, told: Callable[[], None], tidemill: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told()
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMILL_LEDGER", f"sqlite:///{root / 'elsewhere.db'}")
    with ledger(root, "other") as opened:
        opened.append("trial", "decision", body(decision="no", why=["a"]), as_of=BEGIN, key="d/1")
    assert tidemill("history", "trial", "--state", "other", cwd=root).code == 0
    assert "elsewhere.db" in tidemill("history", "flights", cwd=root).err


def test_a_model_that_nobody_knows(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    said = tidemill("history", "flights", cwd=root)
    assert said.code == 1
    assert 'has no model "flights". Known models: none yet.' in said.err
    told()
    assert 'Did you mean "flights"?' in tidemill("history", "flight").err
    assert "Known models: flights." in tidemill("history", "churn").err


def test_another_state_folder_has_another_story(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    with ledger(root, "other") as opened:
        opened.append("trial", "decision", body(decision="no", why=["a", "b"]), as_of=BEGIN, key="d/1")
    said = tidemill("history", "trial", "--state", "other", cwd=root)
    assert said.code == 0
    assert "no: a; b" in said.out
    assert tidemill("history", "trial").code == 1


def test_the_project_is_found_from_a_folder_below(root: Path, told: Callable[[], None], tidemill: CommandLine) -> None:
    told()
    assert tidemill("history", "flights", cwd=root / "dags").code == 0
    assert tidemill("history", "flights", cwd=root / "include").code == 0


@pytest.mark.parametrize("command", [("promote", "churn", "3"), ("rollback", "churn")])
def test_a_model_that_no_spec_makes(root: Path, command: tuple[str, ...], tidemill: CommandLine) -> None:
    said = tidemill(*command, cwd=root)
    assert said.code == 1
    assert said.err == f'tidemill: no sound spec below {root}/dags has the model "churn"\n'


def test_outside_of_a_project(tmp_path: Path, tidemill: CommandLine) -> None:
    said = tidemill("rollback", "flights", cwd=tmp_path)
    assert said.code == 1
    assert "there is no dags folder" in said.err


def test_there_is_nothing_to_go_back_to_and_nothing_to_promote(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("rollback", "flights", cwd=root)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("tidemill: ")
    said = tidemill("promote", "flights", "7")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("tidemill: ")
    assert "7" in said.err


def test_a_broken_spec_of_another_pipeline_is_in_nobodys_way(root: Path, tidemill: CommandLine) -> None:
    (root / "dags" / "a_broken.yaml").write_text("tidemill: 1\n")
    assert "has the model" not in tidemill("rollback", "flights", cwd=root).err
