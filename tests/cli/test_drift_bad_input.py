"""``tidemill drift`` on files that are broken, odd or empty: findings and one-line messages, never a crash."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command_line import CommandLine, Said

ROWS = 500


def good(rows: int = ROWS) -> pl.DataFrame:
    random = np.random.default_rng(rows)
    return pl.DataFrame({"x": random.normal(size=rows), "kind": [["a", "b"][i % 2] for i in range(rows)]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    good().write_parquet(tmp_path / "good.parquet")
    return tmp_path


class Drift:
    """Compares a good file with another, in every form of the report."""

    def __init__(self, folder: Path, tidemill: CommandLine) -> None:
        self.folder, self.tidemill = folder, tidemill

    def __call__(self, current: str, reference: str = "good.parquet") -> dict[str, Any]:
        shown = self.tidemill("drift", reference, current, "--html", "r.html", cwd=self.folder)
        assert (shown.code, shown.err) == (0, "")
        assert "nan" not in shown.out
        page = (self.folder / "r.html").read_text(encoding="utf-8")
        assert "NaN" not in page
        assert page.endswith("</html>\n")
        report: dict[str, Any] = self.tidemill("drift", reference, current, "--json").json
        assert report["why"].removeprefix("drift is not judged: ") in " ".join(shown.out.split())
        return report

    def refused(self, current: str, reference: str = "good.parquet") -> str:
        said: Said = self.tidemill("drift", reference, current, cwd=self.folder)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("tidemill: ")
        assert said.err.count("\n") == 1
        return said.err


@pytest.fixture
def drift(folder: Path, tidemill: CommandLine) -> Drift:
    return Drift(folder, tidemill)


def kinds(report: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    return [(f["kind"], f["column"], f["severity"]) for f in report["findings"]]


def column(report: dict[str, Any], name: str = "x") -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in report["columns"] if c["name"] == name)
    return found


def test_no_rows(folder: Path, drift: Drift) -> None:
    good().head(0).write_parquet(folder / "none.parquet")
    report = drift("none.parquet")
    assert report["rows"] == {"reference": ROWS, "current": 0}
    assert (report["drifted"], report["share_drifted"]) == (False, None)
    assert kinds(report) == [("empty", None, "severe")]
    assert report["why"] == "drift is not judged: the current data has no rows, at least 50 are needed"
    assert kinds(drift("good.parquet", "none.parquet")) == [("empty", None, "severe")]
    assert len(kinds(drift("none.parquet", "none.parquet"))) == 2


def test_a_header_and_no_rows(folder: Path, drift: Drift) -> None:
    (folder / "head.csv").write_text("x,kind\n")
    assert kinds(drift("head.csv")) == [("empty", None, "severe")]


def test_one_row(folder: Path, drift: Drift) -> None:
    good().head(1).write_csv(folder / "one.csv")
    report = drift("one.csv")
    assert report["why"] == "drift is not judged: the current data has 1 row, at least 50 are needed"
    assert report["findings"] == []
    assert column(report)["ks"] is not None
    assert drift("good.parquet", "one.csv")["share_drifted"] is None


def test_no_column_in_common(folder: Path, drift: Drift) -> None:
    pl.DataFrame({"y": range(ROWS)}).write_parquet(folder / "other.parquet")
    report = drift("other.parquet")
    assert report["columns"] == []
    assert kinds(report)[0] == ("no_overlap", None, "severe")
    assert report["findings"][0]["detail"] == "the two have no column in common: x, kind against y"
    assert report["why"] == "drift is not judged: the two have no column in common"


def test_all_null(folder: Path, drift: Drift) -> None:
    good().with_columns(x=pl.lit(None, dtype=pl.Float64), kind=pl.lit(None, dtype=pl.String)).write_parquet(
        folder / "n.parquet"
    )
    good().with_columns(x=pl.lit(None), kind=pl.lit(None)).write_parquet(folder / "untyped.parquet")
    good().with_columns(x=pl.lit(None), kind=pl.lit(None)).write_csv(folder / "n.csv")
    for name in ("n.parquet", "untyped.parquet", "n.csv"):
        report = drift(name)
        assert kinds(report) == [("null_rate", "x", "severe"), ("null_rate", "kind", "severe")]
        assert column(report)["drifted"]
        assert column(report)["wasserstein"] is None
        back = drift("good.parquet", name)
        assert {kind for kind, _, _ in kinds(back)} == {"null_rate"}
        both = drift(name, name)
        assert {(kind, severity) for kind, _, severity in kinds(both)} == {("all_null", "info")}
        assert not both["drifted"]


def test_infinities(folder: Path, drift: Drift) -> None:
    x = good()["x"].to_numpy().copy()
    x[:100], x[100:130], x[130:140] = np.inf, -np.inf, np.nan
    good().with_columns(x=x).write_parquet(folder / "inf.parquet")
    report = drift("inf.parquet")
    assert ("infinite", "x", "warning") in kinds(report)
    assert column(report)["wasserstein"] is None
    assert "infinite" in column(report)["note"] or column(report)["judged_by"] == "psi"
    assert column(report)["psi"] > 0.2
    assert kinds(drift("inf.parquet", "inf.parquet")) == [("infinite", "x", "info")]
    good().with_columns(x=pl.lit(np.inf)).write_parquet(folder / "all.parquet")
    assert column(drift("all.parquet"))["drifted"]
    assert not drift("all.parquet", "all.parquet")["drifted"]


def test_mixed_types(folder: Path, drift: Drift) -> None:
    lines = [f"{value},{kind}" for value, kind in good().iter_rows()]
    lines[::5] = [f"oops{i},a" for i in range(len(lines[::5]))]
    (folder / "mixed.csv").write_text("\n".join(["x,kind", *lines]) + "\n")
    report = drift("mixed.csv")
    [finding] = [f for f in report["findings"] if f["column"] == "x"]
    assert (finding["kind"], finding["severity"]) == ("mixed_types", "severe")
    assert "100 rows (20%) hold text instead of numbers: 'oops0'" in finding["detail"]
    assert column(report)["kind"] == "numeric"


def test_another_type(folder: Path, drift: Drift) -> None:
    good().with_columns(x=pl.col("kind"), kind=pl.col("x")).write_parquet(folder / "swapped.parquet")
    report = drift("swapped.parquet")
    assert kinds(report) == [("retyped_column", "x", "severe"), ("retyped_column", "kind", "severe")]
    assert column(report)["psi"] is None
    assert not column(report)["judged"]
    assert "type" in column(report)["note"]


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_million_categories(folder: Path, tidemill: CommandLine, count: int) -> None:
    ids = pl.DataFrame({"id": pl.Series(range(count)).cast(pl.String)})
    ids.write_parquet(folder / "ids.parquet")
    ids.with_columns(pl.lit("new") + pl.col("id")).write_parquet(folder / "others.parquet")
    said = tidemill("drift", "ids.parquet", "others.parquet", "--json", cwd=folder)
    assert (said.code, said.err) == (0, "")
    assert said.json["rows"] == {"reference": count, "current": count}
    assert not said.json["drifted"]
    assert len(said.out) < 5_000


def test_dates_out_of_range(folder: Path, drift: Drift) -> None:
    far = pa.array([2**52 if i % 2 else -(2**52) for i in range(ROWS)], pa.timestamp("s"))
    for name, times in (("far", far), ("near", pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * ROWS))):
        pq.write_table(pa.table({"x": good()["x"].to_arrow(), "at": times}), folder / f"{name}.parquet")
    report = drift("far.parquet", "near.parquet")
    assert ("out_of_range", "at", "warning") in kinds(report)
    assert not column(report, "at")["judged"]


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, -4])
def test_a_truncated_parquet_file(folder: Path, drift: Drift, keep: float) -> None:
    whole = (folder / "good.parquet").read_bytes()
    cut = whole[: int(len(whole) * keep) if isinstance(keep, float) else keep]
    (folder / "cut.parquet").write_bytes(cut)
    for current, reference in (("cut.parquet", "good.parquet"), ("good.parquet", "cut.parquet")):
        assert "cut.parquet" in drift.refused(current, reference)


def test_damage_inside_of_a_parquet_file(folder: Path, drift: Drift) -> None:
    damaged = bytearray((folder / "good.parquet").read_bytes())
    damaged[50:1500] = b"\x00" * 1450
    (folder / "bad.parquet").write_bytes(damaged)
    assert "bad.parquet" in drift.refused("bad.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("empty.parquet", b""),
        ("ragged.csv", b"x,kind\n1,a\n2,b,c\n"),
        ("twice.csv", b"x,x\n1,2\n"),
        ("binary.csv", bytes(range(256)) * 20),
        ("text.parquet", b"x,kind\n1,a\n" * 50),
        ("notes.docx", b"PK\x03\x04 nothing" * 20),
        ("half.csv.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"),
    ],
)
def test_what_is_no_table(folder: Path, drift: Drift, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert name in drift.refused(name)
    assert name in drift.refused("good.parquet", name)


def test_a_folder_without_tables_and_a_file_that_may_not_be_read(folder: Path, drift: Drift) -> None:
    (folder / "empty").mkdir()
    assert "empty" in drift.refused("empty")


def test_a_damaged_sketch(folder: Path, drift: Drift, tidemill: CommandLine) -> None:
    tidemill("drift", "good.parquet", "--sketch", "s.sketch", cwd=folder)
    content = (folder / "s.sketch").read_bytes()
    (folder / "cut.sketch").write_bytes(content[:-20])
    (folder / "bit.sketch").write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    assert "cut.sketch" in drift.refused("good.parquet", "cut.sketch")
    assert "bit.sketch" in drift.refused("good.parquet", "bit.sketch")
    assert "s.sketch is a stored sketch, which can only be the reference" in drift.refused("s.sketch")


def test_a_file_that_changes_while_it_is_read(folder: Path, drift: Drift) -> None:
    pl.concat([good(200_000)] * 5).write_csv(folder / "big.csv")
    stop = threading.Event()

    def grow() -> None:
        with (folder / "big.csv").open("a", encoding="utf-8") as file:
            while not stop.is_set():
                file.write("1.0,a\n")
                file.flush()
                stop.wait(0.001)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        told = drift.refused("big.csv")
    finally:
        stop.set()
        writer.join()
    assert "big.csv changed while it was read" in told
