"""``tidemill drift``: two tables compared, a reference stored and used again, and what is said where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.command_line import CommandLine

ROWS = 2000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """``before``, ``same`` and ``after`` (one of two columns has moved) as Parquet and CSV."""
    before = pl.DataFrame({"x": [i % 100 for i in range(ROWS)], "kind": ["ab"[i % 2] for i in range(ROWS)]})
    after = before.with_columns(pl.col("x") + 80)
    for name, frame in (("before", before), ("same", before.reverse()), ("after", after)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
        frame.write_csv(tmp_path / f"{name}.csv")
    return tmp_path


def columns_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in report["columns"]}


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_same_rows_have_not_drifted(files: Path, suffix: str, tidemill: CommandLine) -> None:
    said = tidemill("drift", f"before.{suffix}", f"same.{suffix}", cwd=files)
    assert said.code == 0
    assert said.out.rstrip().endswith("No drift: 0 of 2 columns have drifted (0%; drift is from 30% on)")
    assert said.err == ""


def test_a_column_that_has_moved(files: Path, tidemill: CommandLine) -> None:
    report = tidemill("drift", "before.parquet", "after.csv", "--json", cwd=files).json
    assert report["rows"] == {"reference": ROWS, "current": ROWS}
    columns = columns_of(report)
    assert (columns["x"]["drifted"], columns["x"]["kind"]) == (True, "numeric")
    assert (columns["kind"]["drifted"], columns["kind"]["kind"]) == (False, "categorical")
    assert columns["x"]["psi"] > 1
    assert columns["x"]["ks"] == pytest.approx(0.8)
    assert columns["x"]["wasserstein"] == pytest.approx(80 / np.arange(100).std(), rel=1e-3)
    assert columns["kind"]["ks"] is columns["kind"]["wasserstein"] is None
    assert (report["share_drifted"], report["drifted"], report["findings"]) == (0.5, True, [])
    assert list(report)[:3] == ["drifted", "why", "rows"]


def test_the_table_names_the_worst_first(files: Path, tidemill: CommandLine) -> None:
    lines = tidemill("drift", "before.parquet", "after.parquet", cwd=files).out.splitlines()
    assert lines[1].startswith("x ")
    assert "▲ drifted" in lines[1]
    assert lines[2].startswith("kind ")
    assert "✓ stable" in lines[2]
    assert lines[-1].startswith("Drift: 1 of 2 columns has drifted (50%; drift is from 30% on): x psi")


def test_the_rules_can_be_chosen(files: Path, tidemill: CommandLine) -> None:
    both = ("drift", "before.parquet", "after.parquet", "--json")
    assert tidemill(*both, "--share", "60%", cwd=files).json["drifted"] is False
    assert tidemill(*both, "--share", "0.5").json["drifted"] is True
    assert tidemill(*both, "--at-least", "1000").json["drifted"] is False
    report = tidemill(*both, "--distance", "ks", "--alpha", "1%").json
    assert {name: c["judged_by"] for name, c in columns_of(report).items()} == {"x": "ks", "kind": "js"}
    assert report["rules"]["alpha"] == 0.01


def test_columns_can_be_chosen(files: Path, tidemill: CommandLine) -> None:
    both = ("drift", "before.parquet", "after.parquet", "--json")
    assert list(columns_of(tidemill(*both, "--columns", "kind", cwd=files).json)) == ["kind"]
    assert set(columns_of(tidemill(*both, "--columns", "kind,x").json)) == {"kind", "x"}
    assert set(columns_of(tidemill(*both, "--columns", "kind", "--columns", "x").json)) == {"kind", "x"}
    assert list(columns_of(tidemill(*both, "--exclude", "x").json)) == ["kind"]


def test_a_stored_sketch_stands_for_the_reference(files: Path, tidemill: CommandLine) -> None:
    stored = tidemill("drift", "before.parquet", "--sketch", "ref.sketch", cwd=files)
    assert stored.code == 0
    assert stored.out.startswith("wrote ref.sketch: 2,000 rows, 2 columns, ")
    direct = tidemill("drift", "before.parquet", "after.parquet", "--json").json
    (files / "before.parquet").unlink()
    assert tidemill("drift", "ref.sketch", "after.parquet", "--json").json == direct
    assert list(columns_of(tidemill("drift", "ref.sketch", "after.csv", "--columns", "x", "--json").json)) == ["x"]


def test_a_sketch_is_stored_besides_a_comparison(files: Path, tidemill: CommandLine) -> None:
    said = tidemill("drift", "before.parquet", "after.parquet", "--sketch", "r.sketch", "--html", "r.html", cwd=files)
    assert said.out.rstrip().endswith("wrote r.sketch\nwrote r.html")
    assert tidemill("drift", "r.sketch", "same.csv", "--fail-on-drift").code == 0
    assert "1 of 2 columns has drifted" in (files / "r.html").read_text(encoding="utf-8")


def test_failing_on_drift_is_asked_for(files: Path, tidemill: CommandLine) -> None:
    both = ("drift", "before.parquet", "after.parquet")
    assert tidemill(*both, cwd=files).code == 0
    assert tidemill(*both, "--fail-on-drift").code == 1
    assert json.loads(tidemill(*both, "--fail-on-drift", "--json").out)["drifted"] is True
    pl.read_parquet(files / "same.parquet").drop("kind").write_parquet(files / "lost.parquet")
    assert tidemill("drift", "before.parquet", "lost.parquet", "--fail-on-drift").code == 1
    pl.read_parquet(files / "same.parquet").head(3).write_parquet(files / "few.parquet")
    assert tidemill("drift", "before.parquet", "few.parquet", "--fail-on-drift").code == 1


def test_one_table_at_two_times(tmp_path: Path, tidemill: CommandLine) -> None:
    hours = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 12, 31), "1h", eager=True, time_zone="UTC")
    frame = pl.DataFrame({"at": hours}).with_columns((pl.col("at").dt.month() >= 7).cast(pl.Int64).alias("late"))
    frame.write_parquet(tmp_path / "year.parquet")
    year = ("drift", "year.parquet", "year.parquet", "--json", "--time", "at")
    halves = tidemill(*year, "--reference-to", "2026-07-01", "--from", "2026-07-01", cwd=tmp_path).json
    assert halves["rows"] == {"reference": 181 * 24, "current": 183 * 24 + 1}
    assert [(c["name"], c["drifted"]) for c in halves["columns"]] == [("late", True)]
    months = tidemill(*year, "--reference-to", "2026-03-01", "--from", "2026-03-01", "--to", "2026-04-01").json
    assert (months["rows"]["current"], months["drifted"]) == (31 * 24, False)


def test_any_name_is_printed_and_obeyed_by_nothing(tmp_path: Path, tidemill: CommandLine) -> None:
    names = ["[bold]x[/bold]", "a\x1b[31mb", "<script>alert(1)</script>", "שם", "\u202egnp", "a,b", ""]
    before = pl.DataFrame({name: [f"{name}{i % 3}" for i in range(300)] for name in names})
    before.write_parquet(tmp_path / "a.parquet")
    before.with_columns(pl.all() + "!").write_parquet(tmp_path / "b.parquet")
    said = tidemill("drift", "a.parquet", "b.parquet", "--html", "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for text in (said.out, page):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "[bold]x[/bold]" in said.out
    assert "<script" not in page
    assert set(columns_of(tidemill("drift", "a.parquet", "b.parquet", "--json").json)) == set(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.parquet", "after.csv"], "there is no none.parquet"),
        (["before.csv", "none.csv"], "there is no none.csv"),
        (["before.csv", "after.csv", "--columns", "knd"], '--columns: there is no column "knd". Did you mean "kind"?'),
        (["before.csv", "after.csv", "--exclude", "z"], '--exclude: there is no column "z". There are: x, kind.'),
        (["before.csv", "after.csv", "--columns", ","], "--columns names no column"),
        (["before.csv"], "name a second table to judge, or --sketch FILE"),
        (["before.csv", "--sketch", "s.sketch", "--html", "r.html"], "--html and --json need a second table"),
        (["before.csv", "after.csv", "--html", "no/such/r.html"], "there is no folder no/such"),
        (["before.csv", "after.csv", "--sketch", "."], ". is a folder; name a file"),
        (["before.csv", "after.csv", "--share", "130%"], "--share: expected a share such as 10% or 0.1"),
        (["before.csv", "after.csv", "--alpha", "often"], "--alpha: expected a share"),
        (["before.csv", "after.csv", "--at-least", "0"], "a distance's bound must be more than 0, not 0"),
        (["before.csv", "after.csv", "--from", "2026-01-01"], "--from needs --time"),
        (["before.csv", "after.csv", "--time", "x"], "--time needs a time to begin or end with"),
        (["before.csv", "after.csv", "--time", "x", "--to", "soon"], "--to: expected a date such as"),
        (
            ["before.csv", "after.csv", "--time", "x", "--from", "2026-02-01", "--to", "2026-01-01"],
            "is not before --to",
        ),
        (
            ["before.csv", "after.csv", "--time", "y", "--to", "2026-01-01"],
            '--time: after.csv has no column "y". There are',
        ),
        (["before.csv", "after.csv", "--time", "kind", "--to", "2026-01-01"], "holds text that is no time"),
    ],
)
def test_what_was_typed_wrongly(files: Path, arguments: list[str], message: str, tidemill: CommandLine) -> None:
    said = tidemill("drift", *arguments, cwd=files)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("tidemill: ")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_help_has_an_example(tidemill: CommandLine) -> None:
    said = tidemill("drift", "--help")
    assert said.code == 0
    assert "tidemill drift january.parquet february.parquet" in said.out
