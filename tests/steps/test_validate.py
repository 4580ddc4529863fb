"""Step validate: the suite on the version's rows; failures named with their rows; the Data Docs stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidemill.project import Project
from tidemill.records import Validation, from_json
from tidemill.steps import data, validate
from tidemill.steps.context import StepContext, StepError
from tidemill.tools.versions import DataChanged

Make = Callable[..., StepContext]

SUITE = """\
expectations:
  - {type: expect_column_values_to_be_unique, column: id}
  - {type: expect_column_values_to_be_between, column: delay, min_value: 0, max_value: MAX}
"""


@pytest.fixture
def checked(make_context: Make, project: Project) -> Callable[..., StepContext]:
    """The context of the validate step of a run whose data step has run, for a suite of this text."""
    first = datetime(2013, 1, 1)  # noqa: DTZ001 - as it is stored
    frame = pl.DataFrame(
        {
            "id": range(200),
            "time": [first + timedelta(days=day) for day in range(200)],
            "delay": [float(day) for day in range(200)],
            "late": [day % 2 == 0 for day in range(200)],
        }
    )
    frame.write_parquet(project.root / "include" / "rows.parquet")

    def make(text: str, **more: Any) -> StepContext:
        (project.root / "include" / "suite.yaml").write_text(text)
        spec = {"data": {"expect": "include/suite.yaml"}}
        version = data.run(make_context("data", **spec))
        return make_context("validate", results={"data": version}, **spec, **more)

    return make


def test_a_suite_that_holds_gives_its_record_and_docs(checked: Callable[..., StepContext]) -> None:
    ctx = checked(SUITE.replace("MAX", "1000"))
    found = validate.run(ctx)
    assert (found.checked, found.failed, found.suite) == (4, (), "include/suite.yaml")
    assert from_json(found.to_json()) == found
    assert found.docs is not None
    docs = Path(found.docs)
    assert docs.is_relative_to(ctx.project.run_folder(ctx.dag_id, ctx.run_id))
    assert docs.name == "index.html"
    assert len(list(docs.parent.rglob("validations/**/*.html"))) == 2


def test_a_failure_names_expectation_column_rows_and_docs(checked: Callable[..., StepContext]) -> None:
    ctx = checked(SUITE.replace("MAX", "149"))
    with pytest.raises(StepError) as error:
        validate.run(ctx)
    lines = str(error.value).splitlines()
    assert re.fullmatch(r"include/suite.yaml: 2 of 4 checks fail on data version [0-9a-f]{32}\.dir", lines[0])
    # April and May are days 90 to 150, June is days 151 to 180.
    assert lines[1] == "  expect_column_values_to_be_between (delay): 1 of 61 rows; train: e.g. 150.0"
    assert lines[2].startswith("  expect_column_values_to_be_between (delay): 30 of 30 rows; holdout: e.g. 151.0, ")
    assert lines[3].startswith("Data Docs: ")
    assert Path(lines[3].removeprefix("Data Docs: ")).is_file()
    assert not error.value.retry


def test_a_mistake_in_the_suite_has_its_place(checked: Callable[..., StepContext]) -> None:
    with pytest.raises(StepError, match=r"suite.yaml:3:14: .*unknown expectation|suite.yaml:2:12"):
        validate.run(checked("expectations:\n  - {type: expect_colum_to_exist, column: id}\n"))


def test_a_missing_suite_is_named(checked: Callable[..., StepContext], project: Project) -> None:
    ctx = checked(SUITE)
    (project.root / "include" / "suite.yaml").unlink()
    with pytest.raises(StepError, match=r"suite.yaml:1:1: cannot be read: No such file"):
        validate.run(ctx)


def test_damaged_data_is_not_validated(checked: Callable[..., StepContext], project: Project) -> None:
    ctx = checked(SUITE.replace("MAX", "1000"))
    for path in (project.state / "dvc").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataChanged, match=r"(train|holdout).parquet has changed"):
        validate.run(ctx)


def test_without_data_there_is_nothing_to_validate(make_context: Make) -> None:
    with pytest.raises(StepError, match=r"no data_version of this run; has its task run\?"):
        validate.run(make_context("validate", data={"expect": "include/suite.yaml"}))


def test_the_record_is_a_validation(checked: Callable[..., StepContext]) -> None:
    assert isinstance(validate.run(checked(SUITE.replace("MAX", "1000"))), Validation)
