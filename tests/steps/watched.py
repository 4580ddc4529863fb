"""What the tests of score and monitor share: rows of days, and a state folder with trained versions."""

from __future__ import annotations

import pickle
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.mlflow_store import copy_store
from tests.steps.conftest import NoConnections
from tidemill.drift.summarise import summarise_table
from tidemill.project import Project
from tidemill.tools.mlflow import open_mlflow

MODEL = "flights"


def day(month: int, day: int = 1) -> datetime:
    return datetime(2013, month, day, tzinfo=UTC)


def rows(start: datetime, days: int, *, shift: float = 0.0, turned: bool = False, seed: int = 0) -> pl.DataFrame:
    """Ten rows a day. `late` follows from `wind`, or its opposite if `turned`; `shift` moves the wind."""
    rng = np.random.default_rng(seed)
    n = days * 10
    wind = rng.normal(size=n)
    late = (wind + rng.normal(scale=0.5, size=n) > 0).astype(int)
    return pl.DataFrame(
        {
            "id": range(n),
            "time": [start + timedelta(hours=2.4 * i) for i in range(n)],
            "wind": wind + shift,
            "carrier": rng.choice(["UA", "AA"], size=n),
            "late": 1 - late if turned else late,
        }
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Path:
    """A state folder whose MLflow has two versions: 1 follows the wind, 2 says the opposite."""
    if _made:  # a fixture that several modules import is one fixture for each of them
        return _made[0]
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    root = tmp_path_factory.mktemp("template")
    project = Project(root=root, state=root / ".tidemill")
    copy_store(store_template, project)
    mlflow = open_mlflow(NoConnections(), project)
    reference = root / "reference.sketch"
    for turned in (False, True):
        train = rows(day(1), 60, turned=turned)
        summarise_table(train, exclude={"id", "time"}).write(reference)
        model = make_pipeline(make_column_transformer(("passthrough", ["wind"])), LogisticRegression())
        model.fit(train.drop("late").to_pandas(), train["late"].to_numpy())
        pickled = root / "model.pkl"
        pickled.write_bytes(pickle.dumps(model))
        run = mlflow.start_or_resume_run(
            experiment=MODEL, name="r", dag_id=MODEL, dag_run=f"run{turned}", same={}, tags={}
        )
        uri = mlflow.log_model(
            run.run_id, pickled, sample=train.drop("late").head(20).to_pandas(), classification=True, classes=[0, 1]
        )
        mlflow.log_artifact(run.run_id, reference, "tidemill")
        mlflow.register(MODEL, run.run_id, uri, {})
    _made.append(project.state)
    return project.state


_made: list[Path] = []


def copied(template: Path, state: Path) -> None:
    """Make a state folder of its own from the template."""
    if state.exists():
        return
    shutil.copytree(template, state)
    for path in state.rglob("mlflow.db"):
        _move_artifacts(path, template, state)


def _move_artifacts(database: Path, old: Path, new: Path) -> None:
    """MLflow keeps absolute addresses: point the copied store at its own copied files."""
    import sqlite3

    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location",
               "model_versions": "storage_location"}  # fmt: skip
    with sqlite3.connect(database) as connection:
        for table, column in columns.items():
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(old), str(new)))
    connection.close()
