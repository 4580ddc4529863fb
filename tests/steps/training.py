"""What the tests of train, evaluate and register share: a project with data that can be learned from."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from tidemill.drift.summarise import summarise_table
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.project import Project
from tidemill.records import DataVersion, Part, Reference, Run
from tidemill.steps.context import StepContext
from tidemill.tools.dvc import DvcStore

SKLEARN = """
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def numbers(frame):
    return frame[["a", "b"]].fillna(0)

def train(context):
    rows = pd.read_parquet(context.data.train)
    model = make_pipeline(FunctionTransformer(numbers), LogisticRegression(C=context.params.get("C", 1.0)))
    for step in range(3):
        context.log_metric("loss", 1.0 / (step + 1))
    print("trained on", len(rows), "rows")
    return model.fit(rows, rows["late"])
"""
OWN_CLASS = """
import pandas as pd

class Share:
    def __init__(self, share):
        self.share = share
    def predict_proba(self, frame):
        import numpy as np
        p = np.clip(self.share + 0.1 * frame["a"].to_numpy(), 0.01, 0.99)
        return np.stack([1 - p, p], axis=1)

def train(context):
    return Share(float(pd.read_parquet(context.data.train)["late"].mean()))
"""


def rows(n: int, seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    """Rows of which ``late`` depends on ``a``; ``b`` is an integer with gaps."""
    random = np.random.default_rng(seed)
    a = random.normal(size=n)
    late = (a + shift + random.normal(scale=0.7, size=n) > 0.3).astype(int)
    b = [None if i % 11 == 3 else int(v) for i, v in enumerate(random.integers(0, 9, n))]
    start = datetime(2013, 4, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": range(n),
            "time": [start] * n,
            "a": a,
            "b": b,
            "carrier": random.choice(["AA", "UA", "OO"], n, p=[0.6, 0.39, 0.01]),
            "late": late,
        }
    )


def a_version(
    project: Project, train: pl.DataFrame, holdout: pl.DataFrame, at: datetime = datetime(2013, 7, 1, tzinfo=UTC)
) -> DataVersion:
    """Both frames as a data version whose holdout is the month before ``at``."""
    folder = project.state / "new-version"
    folder.mkdir(parents=True)
    train.write_parquet(folder / "train.parquet")
    holdout.write_parquet(folder / "holdout.parquet")
    store = DvcStore(project)
    version = store.add(folder)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    month = at.replace(month=at.month - 1)
    first = at.replace(month=at.month - 3)
    return DataVersion(
        version=version,
        backend="dvc",
        source="include/rows.parquet",
        path=str(store.fetch(version)),
        train=Part(name="train", rows=train.height, start=first, end=month),
        holdout=Part(name="holdout", rows=holdout.height, start=month, end=at),
        columns={},
    )


def write_code(project: Project, source: str) -> None:
    """The project's training code."""
    (project.root / "include" / "train.py").write_text(textwrap.dedent(source))


def a_reference(project: Project, data: DataVersion) -> Reference:
    """A reference, as its step leaves one."""
    path = project.state / "reference" / "reference.sketch"
    path.parent.mkdir(parents=True, exist_ok=True)
    summarise_table(pl.DataFrame({"a": [1.0]})).write(path)
    return Reference(data_version=data.version, path=str(path), rows=1, columns=1)


Make = Callable[..., StepContext]


def trained(make_context: Make, data: DataVersion, **given: Any) -> tuple[StepContext, Run]:
    """Run the train step; its context and record."""
    from tidemill.steps import train

    results: Mapping[str, Any] = {"data": data}
    ctx = make_context("train", results=results, jobs=LocalJobs(), **given)
    return ctx, train.run(ctx)
