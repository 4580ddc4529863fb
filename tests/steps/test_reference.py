"""The sketches of what a model learned from and of what it predicts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.steps.training import SKLEARN, a_version, rows, trained, write_code
from tidemill.drift.sketch import NumericSketch, Sketch
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


def test_the_training_rows_of_the_data_version_are_summarised_without_key_and_time(
    make_context: Make, project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    train = pl.DataFrame({"id": [1, 2, 3, 4], "time": [AT] * 4, "wind": [1.0, 2.0, None, 4.0], "late": [0, 1, 0, 1]})
    train.write_parquet(folder / "train.parquet")
    train.with_columns(wind=pl.lit(99.0)).write_parquet(folder / "holdout.parquet")
    version = DvcStore(project).add(folder)
    found = reference.run(make_context("reference", results={"data": versioned(version)}))
    assert (found.data_version, found.rows, found.columns, found.predictions) == (version, 4, 2, None)
    sketch = Sketch.read(Path(found.path))
    wind = sketch.columns["wind"]
    assert isinstance(wind, NumericSketch)
    assert (wind.minimum, wind.maximum, wind.nulls) == (1.0, 4.0, 1)
    assert list(sketch.columns) == ["wind", "late"]


def test_what_the_model_predicts_and_how_much_each_column_counts_are_kept_where_they_are_asked_for(
    make_context: Make, project: Project
) -> None:
    write_code(project, SKLEARN)
    data = a_version(project, rows(2000, 1), rows(800, 2))
    given = {"score": {"window": "1 d"}, "monitor": {"window": "1 d", "drift": {"weights": "importance"}}}
    _, run = trained(make_context, data, **given)
    again = make_context("reference", results={"data": data, "train": run}, **given)
    found = reference.run(again)
    importances = Sketch.read(Path(found.path)).meta["importances"]
    assert set(importances) == {"a", "b", "carrier"}
    assert importances["a"] > 0.2  # the answer follows from `a`, and from nothing else
    assert max(importances["b"], importances["carrier"]) < 0.01
    assert found.predictions is not None
    predicted = Sketch.read(Path(found.predictions))
    column = predicted.columns["prediction"]
    assert isinstance(column, NumericSketch)
    assert predicted.rows == 800
    assert 0 <= (column.minimum or 0) < (column.maximum or 0) <= 1


def test_a_version_that_is_not_there_is_an_error(make_context: Make) -> None:
    with pytest.raises(StepError, match="0" * 32):
        reference.run(make_context("reference", results={"data": versioned("0" * 32 + ".dir")}))
