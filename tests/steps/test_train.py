"""The training step with the real job runner, data store and MLflow: once for a DAG run, whatever is killed."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.mlflow_store import AtServer, copy_store, free_port, store_template
from tests.steps.training import OWN_CLASS, SKLEARN, Make, a_version, rows, trained, write_code
from tidemill.ledger import open_ledger
from tidemill.ledger.views import COST, RUN
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.project import Project
from tidemill.records import Cost, DataVersion, Run
from tidemill.steps import train
from tidemill.steps.code import code_version, git_commit
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read
from tidemill.tools.mlflow import Mlflow, open_mlflow

__all__ = ["store_template"]
HERE = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(project: Project, store_template: Path) -> DataVersion:
    copy_store(store_template, project)
    return a_version(project, rows(400, 1), rows(200, 2))


def store(ctx: StepContext) -> Mlflow:
    return open_mlflow(ctx.connections, ctx.project)


def runs(ctx: StepContext) -> list[Any]:
    """All runs of the pipeline's experiment."""
    with store(ctx).calls("reading", "runs") as client:
        experiment = client.get_experiment_by_name(ctx.pipeline)
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def costs(ctx: StepContext) -> list[Cost]:
    """What the ledger says that trainings cost."""
    with ctx.open_ledger() as ledger:
        return [read(e, Cost) for e in ledger.entries(ctx.model, kinds={COST})]


def test_a_training_is_tracked_and_remembered(
    make_context: Make, project: Project, data: DataVersion, caplog: pytest.LogCaptureFixture
) -> None:
    write_code(project, SKLEARN)
    with caplog.at_level(logging.INFO, "tidemill"):
        ctx, record = trained(make_context, data, train={"params": {"C": 0.5}, "seed": 4})
    assert "trained on 400 rows" in caplog.messages
    assert (record.experiment, record.data_version, record.spec_hash) == ("flights", data.version, "5" * 12)
    assert record.code_version == code_version(project.root)
    assert (record.params, record.metrics, record.seed) == ({"C": 0.5}, {"loss": 1 / 3}, 4)
    (run,) = runs(ctx)
    assert (run.info.run_id, run.info.status, run.info.run_name) == (
        record.run_id,
        "FINISHED",
        "flights 2013-07-01 00:00",
    )
    assert run.data.params == {"C": "0.5"}
    tags = {k: v for k, v in run.data.tags.items() if k.startswith("tidemill.")}
    assert tags.pop("tidemill.model_uri") == record.model_uri
    assert float(tags.pop("tidemill.seconds")) == record.seconds > 0
    assert tags == {
        "tidemill.pipeline": "flights",
        "tidemill.as_of": "2013-07-01T00:00:00+00:00",
        "tidemill.dag": "flights",
        "tidemill.dag_run": "scheduled__2013-07-01",
        "tidemill.data_version": data.version,
        "tidemill.code_version": record.code_version,
        "tidemill.spec_hash": "5" * 12,
        "tidemill.seed": "4",
    }
    with store(ctx).calls("reading", "metrics") as client:
        assert [m.step for m in client.get_metric_history(record.run_id, "loss")] == [0, 1, 2]
    model = store(ctx).load_uri(record.model_uri)
    assert model.classes == [0, 1]
    with ctx.open_ledger() as ledger:
        (entry,) = ledger.entries(ctx.model, kinds={RUN})
    assert read(entry, Run) == record
    assert not list((project.run_folder("flights", ctx.run_id) / "train").glob("*/output"))
    assert costs(ctx) == []  # the platform has no price


def test_what_is_written_beside_the_model_is_kept_with_the_run(
    make_context: Make, project: Project, data: DataVersion
) -> None:
    write = (
        "def train(context):\n    (context.output / 'plots').mkdir()\n    (context.output / 'plots' / 'a.txt').touch()"
    )
    write_code(project, OWN_CLASS.replace("def train(context):", write))
    ctx, record = trained(make_context, data)
    with store(ctx).calls("reading", "artifacts") as client:
        assert [a.path for a in client.list_artifacts(record.run_id)] == ["output"]
        assert [a.path for a in client.list_artifacts(record.run_id, "output/plots")] == ["output/plots/a.txt"]


def test_columns_that_mlflow_has_no_type_for_do_no_harm(
    make_context: Make, project: Project, store_template: Path
) -> None:
    from datetime import timedelta
    from decimal import Decimal

    copy_store(store_template, project)
    write_code(project, OWN_CLASS)
    odd = [rows(60, i).with_columns(took=pl.lit(timedelta(1)), cost=pl.lit(Decimal("1.5"))) for i in (1, 2)]
    ctx, record = trained(make_context, a_version(project, odd[0], odd[1]))
    assert store(ctx).load_uri(record.model_uri).classes == [0, 1]


def test_a_finished_run_is_taken_and_another_state_is_trained_anew(
    make_context: Make, project: Project, data: DataVersion
) -> None:
    write_code(project, OWN_CLASS)
    ctx, first = trained(make_context, data)
    assert trained(make_context, data)[1] == first
    assert len(runs(ctx)) == 1
    write_code(project, OWN_CLASS.replace("0.01, 0.99", "0.02, 0.98"))
    _, other = trained(make_context, data)
    assert other.run_id != first.run_id
    assert other.code_version != first.code_version
    assert len(runs(ctx)) == 2
    with ctx.open_ledger() as ledger:
        assert [read(e, Run) for e in ledger.entries(ctx.model, kinds={RUN})] == [first, other]


def test_a_model_keeps_its_own_code(make_context: Make, project: Project, data: DataVersion) -> None:
    write_code(project, OWN_CLASS)
    ctx, record = trained(make_context, data)
    before = store(ctx).load_uri(record.model_uri).model.share
    write_code(project, "raise RuntimeError('rewritten')")
    assert store(ctx).load_uri(record.model_uri).model.share == before


def test_what_a_training_cost_is_its_seconds_at_the_platforms_price(
    make_context: Make, project: Project, data: DataVersion, caplog: pytest.LogCaptureFixture
) -> None:
    write_code(project, OWN_CLASS)
    with caplog.at_level(logging.INFO, "tidemill"):
        ctx, record = trained(make_context, data, platform={"price": "7200 EUR"})
    (cost,) = costs(ctx)
    assert (cost.outcome, cost.seconds, cost.price) == ("trained", record.seconds, "7200 EUR per hour")
    assert (float(cost.amount), cost.currency) == (pytest.approx(2 * record.seconds, abs=1e-6), "EUR")
    assert any(m.startswith("this training cost ") and m.endswith(" EUR") for m in caplog.messages)
    write_code(project, OWN_CLASS.replace("0.01, 0.99", "0.02, 0.98"))  # other code is another training
    trained(make_context, data, platform={"price": "7200 EUR"})
    first, second = costs(ctx)
    assert first == cost
    assert second.training != cost.training


def test_an_attempt_that_makes_no_model_is_paid_for_each_time(
    make_context: Make, project: Project, data: DataVersion
) -> None:
    write_code(project, "def train(context):\n    raise ValueError('no luck')")
    for number in (1, 2):
        with pytest.raises(StepError, match="no luck"):
            trained(make_context, data, platform={"price": "3600 USD"}, try_number=number)
    found = costs(make_context("train"))
    assert [c.outcome for c in found] == ["failed", "failed"]
    assert all(c.seconds > 0 and float(c.amount) > 0 for c in found)


def test_a_ledger_that_is_down_does_not_hide_why_a_training_failed(
    make_context: Make, project: Project, data: DataVersion, caplog: pytest.LogCaptureFixture
) -> None:
    write_code(project, "def train(context):\n    raise ValueError('no luck')")
    ctx = make_context("train", results={"data": data}, jobs=LocalJobs(), platform={"price": "3600 USD"})
    ctx = dataclasses.replace(ctx, open_ledger=lambda: open_ledger(f"sqlite:///{project.root / 'include'}"))
    with pytest.raises(StepError, match="no luck"):
        train.run(ctx)
    assert any("what the failed attempt cost" in m for m in caplog.messages)


BAD = {
    "raises": (
        "def train(context):\n    raise ValueError('no luck')",
        "train.code include.train:train raised ValueError: no luck",
    ),
    "nothing": ("def train(context): pass", "train.code include.train:train returned None and wrote nothing"),
    "no model": (
        "def train(context): return [1, 2]",
        "the model (builtins.list) has neither predict nor predict_proba",
    ),
    "needs the target": (
        "from sklearn.dummy import DummyClassifier\nimport pandas as pd\n"
        "class Needs(DummyClassifier):\n    def predict_proba(self, X): return X['late']\n"
        "def train(context):\n"
        "    rows = pd.read_parquet(context.data.train)\n"
        "    return Needs().fit(rows, rows['late'])",
        "the model cannot predict on 200 rows of the holdout: KeyError: 'late'; it is given a pandas DataFrame of all "
        "columns but the target",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_function_fails_the_run_with_its_reason(
    make_context: Make, project: Project, data: DataVersion, name: str
) -> None:
    source, said = BAD[name]
    write_code(project, source)
    with pytest.raises(StepError) as e:
        trained(make_context, data)
    assert str(e.value).startswith(said)
    assert not e.value.retry
    ctx = make_context("train")
    assert [r.info.status for r in runs(ctx)] == ["FAILED"]
    with ctx.open_ledger() as ledger:
        assert ledger.entries(ctx.model, kinds={RUN}) == []


def test_the_users_frames_are_in_the_log(
    make_context: Make, project: Project, data: DataVersion, caplog: pytest.LogCaptureFixture
) -> None:
    write_code(project, BAD["raises"][0])
    with pytest.raises(StepError):
        trained(make_context, data)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert 'include/train.py", line 2, in train' in record.getMessage()


def test_a_target_that_holds_no_classes(make_context: Make, project: Project, data: DataVersion) -> None:
    write_code(project, OWN_CLASS.replace('["late"]', '["a"]'))
    with pytest.raises(StepError, match=r"the target 'a'.* does not hold classes.*task: regression"):
        trained(make_context, data, evaluate={"target": "a"})


def test_an_mlflow_that_is_down_trains_nothing(make_context: Make, project: Project, data: DataVersion) -> None:
    write_code(project, "def train(context): (context.checkpoint / 'called').touch()")
    ctx = make_context("train", results={"data": data}, jobs=LocalJobs())
    with pytest.raises(StepError, match=r"connection tidemill_mlflow.*could not be reached") as e:
        train.run(dataclasses.replace(ctx, connections=AtServer(free_port())))
    assert e.value.retry
    assert not list(project.state.rglob("called"))


KILLED = """
import os, signal, sys, pickle
from pathlib import Path
from tests.steps.conftest import NoConnections
from tidemill.ledger import open_ledger
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.steps import train
from tidemill.steps.context import StepContext
from tidemill.tools import mlflow, packaging

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

given, where = pickle.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2]
url = given.pop("ledger")
ctx = StepContext(**given, connections=NoConnections(), jobs=LocalJobs(), open_ledger=lambda: open_ledger(url))
if where == "before logging":
    mlflow.Mlflow.log = die
elif where == "while the model is logged":
    packaging.save = die
elif where == "before the run is ended":
    mlflow.Mlflow.end_run = die
elif where == "before the cost":
    train._charge = die
elif where == "before the ledger":
    record = train.record
    train.record = lambda ledger, ctx, kind, entry: die() if kind == "run" else record(ledger, ctx, kind, entry)
train.run(ctx)
"""


def start_training(ctx: StepContext, tmp_path: Path, where: str) -> subprocess.Popen[str]:
    given = {f.name: getattr(ctx, f.name) for f in dataclasses.fields(ctx)}
    for made_there in ("connections", "jobs", "open_ledger", "log", "answer"):
        del given[made_there]
    ledger = f"sqlite:///{ctx.project.state / 'ledger.db'}"
    (tmp_path / "context").write_bytes(pickle.dumps({**given, "ledger": ledger}))
    path = os.pathsep.join([str(HERE), str(HERE / "plugins")])
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "context"), where],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


COUNTED = OWN_CLASS.replace("def train(context):", "def train(context):\n    open({calls!r}, 'a').write('x')")


@pytest.mark.parametrize(
    "where",
    ["before the cost", "before logging", "while the model is logged", "before the run is ended", "before the ledger"],
)
def test_a_killed_attempt_is_gone_on_with_and_trains_and_is_paid_for_once(
    make_context: Make, project: Project, data: DataVersion, tmp_path: Path, where: str
) -> None:
    calls = tmp_path / "calls"
    write_code(project, COUNTED.replace("{calls!r}", repr(str(calls))))
    ctx = make_context("train", results={"data": data}, jobs=LocalJobs(), platform={"price": "3600 USD"})
    process = start_training(ctx, tmp_path, where)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, out
    record = train.run(ctx)
    assert calls.read_text() == "x"
    (run,) = runs(ctx)
    assert (run.info.run_id, run.info.status) == (record.run_id, "FINISHED")
    with store(ctx).calls("reading", "models") as client:
        models = client.search_logged_models([run.info.experiment_id])
    assert [(m.model_uri, m.status) for m in models] == [(record.model_uri, "READY")]
    with ctx.open_ledger() as ledger:
        assert [read(e, Run) for e in ledger.entries(ctx.model, kinds={RUN})] == [record]
    (cost,) = costs(ctx)
    assert (cost.outcome, cost.seconds) == ("trained", record.seconds)
    train.run(ctx)  # cleared, and found to be done
    assert costs(ctx) == [cost]


def test_an_attempt_killed_in_training_leaves_nothing_running_and_is_done_again(
    make_context: Make, project: Project, data: DataVersion, tmp_path: Path
) -> None:
    import psutil

    slow = OWN_CLASS.replace(
        "def train(context):",
        "def train(context):\n"
        "    import os, time\n"
        "    seen = context.checkpoint / 'pid'\n"
        "    if not seen.exists():\n"
        "        seen.write_text(str(os.getpid()))\n"
        "        time.sleep(600)",
    )
    write_code(project, slow)
    ctx = make_context("train", results={"data": data}, jobs=LocalJobs())
    process = start_training(ctx, tmp_path, "in training")
    end = time.monotonic() + 60
    while not (found := [p for p in project.state.rglob("checkpoint/pid") if p.read_text()]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    pid = int(found[0].read_text())
    with pytest.raises(StepError, match="another attempt of this training is still running") as e:
        train.run(ctx)
    assert e.value.retry
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    record = train.run(ctx)
    assert [r.info.run_id for r in runs(ctx)] == [record.run_id]


def test_the_code_version_is_of_the_code_alone(tmp_path: Path) -> None:
    include = tmp_path / "include"
    (include / "a").mkdir(parents=True)
    (include / "a" / "x.py").write_text("1")
    first = code_version(tmp_path)
    assert len(first) == 12
    (include / "notes.txt").write_text("no code")
    (tmp_path / "outside.py").write_text("2")
    os.utime(include / "a" / "x.py", (0, 0))
    assert code_version(tmp_path) == first
    (include / "a" / "x.py").rename(include / "a" / "y.py")
    renamed = code_version(tmp_path)
    (include / "a" / "y.py").write_text("2")
    assert len({first, renamed, code_version(tmp_path)}) == 3
    assert len(code_version(tmp_path / "nowhere")) == 12


def test_the_commit_is_told_where_there_is_one(tmp_path: Path) -> None:
    assert git_commit(tmp_path / "nowhere") is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "f").write_text("1")
    subprocess.run([*git, "add", "f"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "f").write_text("2")
    assert git_commit(tmp_path) == f"{commit}+changes"
