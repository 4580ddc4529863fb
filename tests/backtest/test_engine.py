"""A whole backtest with real trainings: the stories of three policies, going on after a kill, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.cli import main as cli

SPEC = """\
tidemill: 1
schedule: quarterly
start: 2013-04-01
end: 2013-09-01
platform: {provider: local, price: 36 USD}
data:
  source: include/rows.parquet
  key: [id]
  window: {column: time, train: 2 months, holdout: 1 month}
train: {code: "include.train:train"}
evaluate: {task: classification, target: late, metrics: [roc_auc, log_loss]}
promote: {when: {roc_auc: {at_least: 0.6, gain: {at_least: -0.5, without_champion: pass}}}}
monitor:
  schedule: monthly
  drift: {at_least: 0.2, share: 40%}
  performance: {roc_auc: {at_least: 0.7}}
retrain:
  triggers: [drift, performance]
  cooldown: 28 d
  at_most: 2 per quarter
  quiet_hours: [{from: "00:00", to: "06:00", days: [mon]}]
steps:
  tell: {operator: BashOperator, after: promote, with: {bash_command: "false"}}
"""
TRAIN = """\
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def columns(frame):
    return frame[["a", "b"]]

def train(context):
    rows = pd.read_parquet(context.data.train)
    return make_pipeline(FunctionTransformer(columns), LogisticRegression()).fit(rows, rows["late"])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of which `late` depends on `a`; from May on `a` means the opposite, and both columns have moved."""
    root = tmp_path_factory.mktemp("project")
    (root / "dags").mkdir()
    (root / "include").mkdir()
    (root / "dags" / "flights.yaml").write_text(SPEC)
    (root / "include" / "train.py").write_text(TRAIN)
    random, start = np.random.default_rng(5), datetime(2013, 1, 1, tzinfo=UTC)
    n = 243 * 24
    turned = np.arange(n) >= 120 * 24
    a, noise = random.normal(size=n), random.normal(size=n)
    late = (np.where(turned, -a, a) + 0.5 * noise > 0).astype(int)
    frame = pl.DataFrame(
        {
            "id": range(n),
            "time": [start + timedelta(hours=hour) for hour in range(n)],
            "a": a + 2 * turned,
            "b": random.normal(size=n) + 2 * turned,
            "late": late,
        }
    )
    frame.write_parquet(root / "include" / "rows.parquet")
    return root


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tidemill.cli.main", "backtest", str(root / "dags" / "flights.yaml"), *arguments]


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "MLFLOW"))}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, *arguments),
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.slow
def test_three_policies_over_the_same_past_and_a_kill_in_the_middle(project: Path) -> None:
    started = subprocess.Popen(
        command(project), cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert started.stdout is not None
    for line in started.stdout:  # killed while the second training is under way
        if "given   2013-07-01  monitor" in line or "given   2013-06-01" in line:
            time.sleep(0.5)
            started.send_signal(signal.SIGKILL)
            break
    started.wait()
    left = list((project / ".tidemill" / "backtest" / "flights").rglob("ticks/given/*.json"))
    assert left
    done = run(project, "--json", "--svg", str(project / "out" / "backtest.svg"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done before") == len(left)
    found = json.loads(done.stdout)
    given, never, always = found["stories"]
    assert [w["end"] for w in given["windows"]] == [w["end"] for w in never["windows"]]
    assert never["summary"]["trained"] == 1
    # The world turned in May: whoever never trains again is below a coin toss, and who always does is not.
    assert _of(never, "2013-08-01")["metrics"]["roc_auc"] < 0.3
    assert _of(always, "2013-09-01")["metrics"]["roc_auc"] > 0.8
    low, high = _of(always, "2013-09-01")["intervals"]["roc_auc"]
    assert low < _of(always, "2013-09-01")["metrics"]["roc_auc"] < high
    assert always["summary"]["gain_over_never"] > given["summary"]["gain_over_never"] > 0
    assert always["summary"]["trained"] > given["summary"]["trained"] > 1
    # The first of July was a Monday: the policy's no to that alarm is told with its reason.
    (held,) = [t for t in given["trainings"] if t["outcome"] == "not trained"]
    assert held["as_of"] == "2013-07-01"
    assert "quiet" in " ".join(held["why"])
    # 36 USD an hour is a cent a second.
    assert float(given["summary"]["cost"].split()[0]) == pytest.approx(given["summary"]["seconds"] / 100, abs=0.011)
    assert found["left_out"] == ["tell"]
    assert (project / "out" / "backtest.svg").read_text().startswith("<svg")
    assert not (project / ".tidemill" / "ledger.db").exists()
    again = run(project)
    assert again.returncode == 0, again.stderr
    assert "never retrained" in again.stdout
    other = run(project, "--metric", "log_loss", "--json")
    assert json.loads(other.stdout)["metric"] == "log_loss"


@pytest.mark.slow
def test_with_late_labels_each_policy_is_judged_by_what_its_own_champions_had_predicted(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    shutil.copytree(project / "include", tmp_path / "include")
    pl.read_parquet(project / "include" / "rows.parquet").select("id", "late").write_parquet(
        tmp_path / "include" / "labels.parquet"
    )
    text = SPEC.replace("monitor:\n", "score: {schedule: monthly}\nmonitor:\n  labels: LABELS\n")
    text = text.replace("LABELS", "{source: include/labels.parquet, delay: 2 d}").replace(
        "end: 2013-09-01", "end: 2013-07-01"
    )
    (tmp_path / "dags" / "flights.yaml").write_text(text)
    done = run(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    given, never, always = json.loads(done.stdout)["stories"]
    judged = [[(w["end"], w["version"], w["labelled"]) for w in s["windows"]] for s in (given, never, always)]
    # Two days of a month are judged in the next one, where the same version has scored them.
    first = [("2013-04-01", None, 744), ("2013-04-29", "1", 28 * 24)]
    assert judged[0] == judged[1] == [*first, ("2013-05-30", "1", 31 * 24), ("2013-06-29", "1", 30 * 24)]
    # Trained again after April, version 2 scored May; what the one before had scored is left out.
    assert judged[2][:3] == [*first, ("2013-05-30", "2", 29 * 24)]
    logs = (tmp_path / ".tidemill" / "backtest" / "flights").glob("*/predictions/*/as_of=*")
    assert {path.parent.name for path in logs} == {"given", "never", "always"}
    assert not (tmp_path / ".tidemill" / "predictions").exists()


@pytest.mark.parametrize("missing", ["labels", "score"])
def test_what_a_backtest_reads_besides_must_be_there_too(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    (tmp_path / "dags").mkdir()
    shutil.copytree(project / "include", tmp_path / "include")
    added = {
        "labels": ("monitor:\n", "monitor:\n  labels: {source: include/none.parquet, delay: 2 d}\n"),
        "score": ("monitor:\n", "score: {source: include/none.parquet, schedule: monthly}\nmonitor:\n"),
    }
    (tmp_path / "dags" / "flights.yaml").write_text(SPEC.replace(*added[missing]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tidemill", "backtest", "dags/flights.yaml"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code
    said = capsys.readouterr().err
    assert "include/none.parquet cannot be read" in said
    assert f"Check {'monitor.labels' if missing == 'labels' else 'score'}.source." in said


def _of(story: dict[str, Any], end: str) -> dict[str, Any]:
    found: dict[str, Any] = next(w for w in story["windows"] if w["end"] == end)
    return found


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        (("monitor:", ""), (), "has no `monitor`, so nothing judges the windows"),
        (("none", "none"), ("--metric", "brier"), '"brier" is not among evaluate.metrics (roc_auc, log_loss)'),
        (("none", "none"), ("--from", "soon"), "--from: expected a date such as 2013-07-01"),
        (("none", "none"), ("--from", "2014-01-01"), "no schedule has a tick between 2014-01-01 and 2013-09-01"),
        (("none", "none"), ("--from", "2013-05-01", "--to", "2013-06-01"), "`schedule` has no run in this span"),
        (("include/rows.parquet", "include/none.parquet"), (), "include/none.parquet"),
        (("end: 2013-09-01\n", ""), (), "has no `end`, so say where to stop with --to"),
    ],
)
def test_what_cannot_be_backtested_is_said_at_once(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    (tmp_path / "dags").mkdir()
    shutil.copytree(project / "include", tmp_path / "include")
    text = SPEC.replace(*change) if change[0] != "monitor:" else SPEC[: SPEC.index("monitor:")]
    (tmp_path / "dags" / "flights.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tidemill", "backtest", "dags/flights.yaml", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code
    assert says in capsys.readouterr().err
