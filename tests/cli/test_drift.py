"""``tidemill drift``: two files compared, and what is said where they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import CommandLine


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """``before``, ``same`` and ``after`` (one of two columns has moved) as Parquet and CSV."""
    import polars as pl

    n = 2000
    before = pl.DataFrame({"x": [i % 100 for i in range(n)], "kind": ["ab"[i % 2] for i in range(n)]})
    after = before.with_columns(pl.col("x") + 80)
    for name, frame in (("before", before), ("same", before.reverse()), ("after", after)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
        frame.write_csv(tmp_path / f"{name}.csv")
    return tmp_path


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_same_rows_have_not_drifted(files: Path, suffix: str, tidemill: CommandLine) -> None:
    said = tidemill("drift", f"before.{suffix}", f"same.{suffix}", cwd=files)
    assert said.code == 0
    assert said.out.rstrip().endswith("0 of 2 columns drifted: no drift")


def test_a_column_that_has_moved(files: Path, tidemill: CommandLine) -> None:
    machine = tidemill("drift", "before.parquet", "after.csv", "--json", cwd=files).json
    assert machine["rows"] == {"reference": 2000, "current": 2000}
    columns = {column["name"]: column for column in machine["columns"]}
    assert (columns["x"]["drifted"], columns["x"]["kind"]) == (True, "numeric")
    assert (columns["kind"]["drifted"], columns["kind"]["kind"]) == (False, "categorical")
    assert columns["x"]["psi"] > 1
    assert (machine["share_drifted"], machine["drifted"]) == (0.5, True)


def test_share_bound_and_columns_decide(files: Path, tidemill: CommandLine) -> None:
    both = ("drift", "before.parquet", "after.parquet", "--json")
    assert tidemill(*both, "--share", "0.6", cwd=files).json["drifted"] is False
    assert tidemill(*both, "--at-least", "1000").json["drifted"] is False
    assert [c["name"] for c in tidemill(*both, "--column", "kind").json["columns"]] == ["kind"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.parquet", "after.csv"], "there is no none.parquet"),
        (["before.csv", "after.csv", "--column", "y"], '"y"'),
        (["notes.txt", "after.csv"], "notes.txt"),
        (["broken.parquet", "after.csv"], "broken.parquet"),
    ],
)
def test_what_cannot_be_compared(files: Path, arguments: list[str], message: str, tidemill: CommandLine) -> None:
    (files / "notes.txt").write_text("not a table")
    (files / "broken.parquet").write_bytes(b"PAR1 nothing PAR1")
    said = tidemill("drift", *arguments, cwd=files)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("tidemill: ")
    assert message in said.err
