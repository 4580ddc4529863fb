"""The DAGs of score and monitor as Airflow runs them in one process: no champion, two scorings, late labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

MORE = """
score:
  source: include/churn/new.csv
  schedule: monthly
  rows: 200
  columns: [plan]
monitor:
  schedule: monthly
  drift: {at_least: 0.2, share: 30%}
  labels: {source: include/churn/labels.csv, delay: 7 d}
  performance: {roc_auc: {at_least: 0.5}, log_loss: {at_most: 0.01, confidence: 90%}}
  estimate: true
"""


def tidemill(root: Path, *arguments: str) -> Any:
    """What a command prints with --json."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "MLFLOW"))}
    command = [sys.executable, "-m", "tidemill.cli.main", *arguments]
    done = subprocess.run(
        command, cwd=root, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose customers are scored without the target, which another file brings."""
    root = tmp_path_factory.mktemp("project")
    tidemill(root, "new", "churn")
    spec = root / "dags" / "churn.yaml"
    head, _, tail = spec.read_text().partition("monitor:")
    spec.write_text(head + MORE.lstrip() + "\nretrain:" + tail.partition("retrain:")[2])
    sample = pl.read_csv(root / "include" / "churn" / "sample.csv")
    sample.drop("left").write_csv(root / "include" / "churn" / "new.csv")
    sample.select("customer", "left").write_csv(root / "include" / "churn" / "labels.csv")
    return root


@pytest.fixture(scope="module")
def story(root: Path) -> dict[str, Any]:
    """Each run by its name, in the order of time."""

    def run(dag: str, as_of: str) -> Any:
        return tidemill(root, "run", "dags/churn.yaml", "--dag", dag, "--as-of", as_of, "--json")

    return {
        "too early": run("score", "2025-09-01"),
        "training": run("training", "2025-10-01"),
        "november": run("score", "2025-11-01"),
        "december": run("score", "2025-12-01"),
        "monitor": run("monitor", "2025-12-01"),
        "history": tidemill(root, "history", "churn", "--state", ".tidemill/try/churn", "--json"),
    }


def entries(story: dict[str, Any], kind: str) -> list[Any]:
    return [entry["body"] for entry in story["history"]["entries"] if entry["kind"] == kind]


def test_without_a_champion_the_score_is_skipped_and_says_so(story: dict[str, Any]) -> None:
    (as_of, score) = story["too early"]["tasks"].values()
    assert as_of["state"] == "success"
    assert score["state"] == "skipped"
    assert "no champion is in force at 2025-09-01" in score["said"]


def test_each_scoring_is_a_folder_of_the_log_and_an_entry_of_the_ledger(story: dict[str, Any], root: Path) -> None:
    assert story["training"]["state"] == story["november"]["state"] == story["december"]["state"] == "success"
    scorings = entries(story, "scoring")
    assert [scoring["as_of"][:10] for scoring in scorings] == ["2025-11-01", "2025-12-01"]
    assert scorings[0]["data_version"] != scorings[1]["data_version"]
    log = pl.read_parquet(root / ".tidemill" / "try" / "churn" / "predictions" / "churn")
    assert dict(log["as_of"].value_counts().iter_rows()) == {
        f"{scoring['as_of'][:10].replace('-', '')}T000000Z": scoring["rows"] for scoring in scorings
    }
    assert {"customer", "seen_at", "plan", "prediction", "probability_0", "probability_1"} <= set(log.columns)
    assert set(log["model_version"]) == {"1"}
    assert log["customer"].n_unique() == log.height


def test_late_labels_judge_the_log_and_the_window_itself_is_estimated(story: dict[str, Any]) -> None:
    assert story["monitor"]["state"] == "success"
    (report,) = entries(story, "drift")
    performance, labels, estimate = report["performance"], report["labels"], report["estimate"]
    assert (performance["start"][:10], performance["end"][:10]) == ("2025-10-25", "2025-11-24")
    assert performance["predictions"] == "logged"
    assert labels["labelled"] == labels["rows"] == performance["rows"] > 400
    assert report["fired"] == ["performance"]  # by log_loss, whose bound nobody could keep
    ends = {interval["metric"]: interval for interval in performance["intervals"]}
    assert ends["roc_auc"]["low"] < performance["metrics"]["roc_auc"] < ends["roc_auc"]["high"]
    assert (ends["log_loss"]["confidence"], ends["roc_auc"]["method"]) == (0.9, "delong")
    assert (estimate["start"][:10], estimate["end"][:10]) == ("2025-11-01", "2025-12-01")
    assert any(why.startswith("estimated without labels for 2025-11-01 to 2025-12-01") for why in report["why"])
    (window,) = story["monitor"]["summary"]["windows"]
    assert window["estimate"] == estimate


def test_the_history_tells_it(story: dict[str, Any], root: Path) -> None:
    said = " ".join(tidemill(root, "history", "churn", "--state", ".tidemill/try/churn").split())
    assert "scoring version 1: " in said
    assert "estimated without labels" in said
