"""The spec's training function, called as the pipeline calls it, on a few rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.testing.code import importable
from tidemill.testing.folders import scratch
from tidemill.testing.sample import sample, spec_of

if TYPE_CHECKING:
    from typing import TypeAlias

    import pandas as pd
    import polars as pl

    Table: TypeAlias = pd.DataFrame | pl.DataFrame | str | Path


@dataclass(frozen=True)
class Trained:
    """What a training left. ``model`` is the object that the function returned or pickled, or MLflow's ``PyFuncModel``
    where it wrote a folder of MLflow's; ``metrics`` the last value of each that it logged; ``output`` the folder that
    it could write to; ``said`` what it printed."""

    model: Any
    metrics: Mapping[str, float]
    seconds: float
    output: Path
    said: str = field(repr=False)


def train(plan: Plan, project: Project, rows: Table | int, holdout: Table | None, params: Mapping[str, Any]) -> Trained:
    """As :meth:`tidemill.testing.Pipeline.train`."""
    __tracebackhide__ = True
    from tidemill.platforms.local.jobs import LocalJobs
    from tidemill.platforms.ports import Job, JobError
    from tidemill.tools import source

    spec = spec_of(plan).train
    folder = scratch("train")
    if isinstance(rows, int):
        to_learn, to_judge = sample(plan, project, rows, None)
    else:
        to_learn = to_judge = _frame(rows)
    source.write(to_learn, folder / "train.parquet")
    source.write(to_judge if holdout is None else _frame(holdout), folder / "holdout.parquet")
    job = Job(
        name=f"{plan.pipeline}-test",
        code=spec.code,
        root=project.root,
        train=folder / "train.parquet",
        holdout=folder / "holdout.parquet",
        output=folder / "output",
        checkpoint=folder / "checkpoint",
        params={**spec.params, **params},
        seed=spec.seed,
        resources=spec.resources,
        timeout=spec.timeout,
        requirements=None if spec.requirements is None else project.path(spec.requirements),
    )
    said: list[str] = []
    try:
        result = LocalJobs(project.state).run(job, said.append)
    except JobError as e:
        raise AssertionError("\n".join(filter(None, [str(e), e.detail.rstrip()]))) from None
    model = _loaded(result.model, project.root)
    return Trained(model, dict(result.metrics), result.seconds, folder / "output", "\n".join(said))


def _frame(rows: Table) -> pl.DataFrame:
    __tracebackhide__ = True
    import polars as pl

    from tidemill.steps.context import StepError
    from tidemill.tools import source

    if isinstance(rows, str | os.PathLike):
        try:
            return source.scan(Path(rows)).collect()
        except StepError as e:
            raise AssertionError(str(e)) from None
    return rows if isinstance(rows, pl.DataFrame) else pl.from_pandas(rows)


def _loaded(path: Path, root: Path) -> Any:
    if path.is_dir():
        from mlflow.pyfunc import load_model

        return load_model(str(path))
    from tidemill.tools.pickled import unpickle

    with importable(root):
        return unpickle(path)[0]
