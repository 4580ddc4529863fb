"""The profile of a run's training rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tidemill.drift.profile import Profile, profile
from tidemill.project import Project
from tidemill.records import DataVersion, Part
from tidemill.steps import reference
from tidemill.steps.context import StepContext, StepError
from tidemill.tools.dvc import DvcStore

Make = Callable[..., StepContext]
AT = datetime(2013, 7, 1, tzinfo=UTC)


def versioned(version: str) -> DataVersion:
    train, holdout = (Part(name=name, rows=4, start=AT, end=AT) for name in ("train", "holdout"))
    return DataVersion(
        version=version, backend="dvc", source="s", path="/nowhere", train=train, holdout=holdout, columns={}
    )


def test_the_training_rows_of_the_data_version_are_profiled_not_the_holdout(
    make_context: Make, project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    train = pl.DataFrame({"id": [1, 2, 3, 4], "time": [AT] * 4, "wind": [1.0, 2.0, None, 4.0], "late": [0, 1, 0, 1]})
    train.write_parquet(folder / "train.parquet")
    train.with_columns(wind=pl.lit(99.0)).write_parquet(folder / "holdout.parquet")
    version = DvcStore(project).add(folder)
    found = reference.run(make_context("reference", results={"data": versioned(version)}))
    assert (found.data_version, found.rows, found.columns) == (version, 4, 4)
    assert Path(found.path).name == "reference.json"
    assert Profile.read(Path(found.path)) == profile(train)


def test_a_version_that_is_not_there_is_an_error(make_context: Make) -> None:
    with pytest.raises(StepError, match="0" * 32):
        reference.run(make_context("reference", results={"data": versioned("0" * 32 + ".dir")}))
