"""Samples of the data, and the training function on them: the real one, in the process that a job has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from tidemill.testing import Pipeline, load


def test_a_sample_is_spread_over_the_window_in_the_order_of_time(churn: Pipeline) -> None:
    rows = churn.sample(100)
    assert 98 <= len(rows) <= 102
    assert rows["seen_at"].is_monotonic_increasing
    assert rows["customer"].is_unique
    months = rows["seen_at"].dt.month.value_counts()
    assert set(months.index) == {8, 9, 10, 11, 12}
    assert months.between(19, 22).all()
    assert str(rows.dtypes["seen_at"]) == "datetime64[us, UTC]"
    assert rows.dtypes["bill"] == "float64"


def test_a_sample_stands_where_the_run_stands(churn: Pipeline) -> None:
    rows = churn.sample(50, as_of="2025-07-01")
    assert (rows["seen_at"].min().month, rows["seen_at"].max().month) == (2, 6)


def test_a_sample_is_never_more_than_there_is(churn: Pipeline) -> None:
    assert len(churn.sample(1_000_000)) == len(churn.sample(5_000)) < 3_000


def test_a_folder_of_parquet_is_sampled_with_its_partitions(model_project: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(model_project / "include" / "churn" / "sample.csv", try_parse_dates=True)
    for plan, part in frame.with_columns(calls=pl.col("calls").cast(pl.Int8)).group_by("plan"):
        (tmp_path / f"plan={plan[0]}").mkdir()
        part.drop("plan").write_parquet(tmp_path / f"plan={plan[0]}" / "part.parquet")
    spec = model_project / "dags" / "parts.yaml"
    text = (model_project / "dags" / "churn.yaml").read_text()
    spec.write_text(text.replace("include/churn/sample.csv", str(tmp_path)))
    rows = load(spec).sample(60)
    assert set(rows["plan"]) == {"basic", "family", "business"}
    assert rows.dtypes["calls"] == "int8"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 0}, "at least one row, not 0"),
        ({"as_of": "1999-01-01"}, "has no rows with 1998-08-01"),
        ({"as_of": "soon"}, "as_of: "),
    ],
)
def test_what_has_no_sample(churn: Pipeline, given: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        churn.sample(**given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_workflow_has_nothing_to_train(flow: Pipeline) -> None:
    with pytest.raises(AssertionError, match=r"flow \(dags/flow\.yaml\) has steps alone"):
        flow.train(10)
    with pytest.raises(AssertionError, match="has steps alone"):
        flow.sample()


@pytest.fixture
def training(churn: Pipeline) -> Iterator[Path]:
    """The file of the training function, to be changed and to be as before after the test."""
    code = churn.place.project.root / "include" / "churn" / "train.py"
    before = code.read_text()
    yield code
    code.write_text(before)


def test_the_model_and_what_the_training_logged(churn: Pipeline) -> None:
    rows = churn.sample(300)
    trained = churn.train(rows)
    assert trained.model.predict_proba(rows).shape == (len(rows), 2)
    assert 0.5 < trained.metrics["train_accuracy"] <= 1


@pytest.mark.parametrize("kind", ["polars", "csv", "parquet", "number"])
def test_rows_in_any_form(churn: Pipeline, tmp_path: Path, training: Path, kind: str) -> None:
    training.write_text(
        "import pandas as pd\n\ndef train(context):\n"
        "    rows, holdout = pd.read_parquet(context.data.train), pd.read_parquet(context.data.holdout)\n"
        "    print('learning')\n"
        "    return {'rows': len(rows), 'holdout': len(holdout), 'C': context.params['C']}\n"
    )
    frame = pl.from_pandas(churn.sample(40))
    frame.write_csv(tmp_path / "rows.csv")
    frame.write_parquet(tmp_path / "rows.parquet")
    given = {"polars": frame, "csv": tmp_path / "rows.csv", "parquet": str(tmp_path / "rows.parquet"), "number": 40}
    trained = churn.train(given[kind], params={"C": 3}, holdout=pd.DataFrame({"a": [1, 2]}))
    train_rows = 32 if kind == "number" else 40
    assert trained.model == {"rows": train_rows, "holdout": 2, "C": 3}
    assert "learning" in trained.said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no rows I like')", ["ValueError: no rows I like", "train.py"]),
        ("return None", ["returned None and wrote nothing"]),
    ],
)
def test_a_training_that_fails_is_told(churn: Pipeline, training: Path, body: str, said: list[str]) -> None:
    training.write_text(f"def train(context):\n    {body}\n")
    with pytest.raises(AssertionError) as caught:
        churn.train(20)
    assert all(text in str(caught.value) for text in said), str(caught.value)
