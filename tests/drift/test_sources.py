"""The same rows in every format, split and windowed, give the same sketch; broken ones say what is wrong with them."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

from tidemill.drift.distances import distances
from tidemill.drift.errors import DriftError
from tidemill.drift.sketch import BooleanSketch, CategoricalSketch, NumericSketch, Sketch, TimestampSketch, merge
from tidemill.drift.sources import Where, open_source, split
from tidemill.drift.summarise import summarise, summarise_table

N = 3000
START = datetime(2024, 1, 1)  # noqa: DTZ001 - a column without a zone


def rows(seed: int = 0, n: int = N) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
            "i": rng.integers(0, 50, n),
            "c": pa.array(rng.choice(["a", "b", "ü, \n c"], n), mask=rng.random(n) < 0.1),
            "b": rng.random(n) < 0.3,
            "t": pa.array([START + timedelta(minutes=i) for i in range(n)]),
            "day": pa.array([date(2024, 1, 1) + timedelta(days=i % 7) for i in range(n)]),
            "p": rng.integers(0, 3, n),
        }
    )


def _parquet(table: pa.Table, folder: Path) -> Path:
    pq.write_table(table, folder / "rows.parquet", row_group_size=700, write_page_checksum=True)
    return folder / "rows.parquet"


def _csv(table: pa.Table, folder: Path) -> Path:
    pc.write_csv(table, folder / "rows.csv")
    return folder / "rows.csv"


def _gzipped(table: pa.Table, folder: Path) -> Path:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(_csv(table, folder).read_bytes()))
    return folder / "rows.csv.gz"


def _tabs(table: pa.Table, folder: Path) -> Path:
    table.to_pandas().to_csv(folder / "rows.tsv", sep="\t", index=False)
    return folder / "rows.tsv"


def _semicolons(table: pa.Table, folder: Path) -> Path:
    table.to_pandas().to_csv(folder / "rows.csv", sep=";", index=False)
    return folder / "rows.csv"


def _feather(table: pa.Table, folder: Path) -> Path:
    pf.write_feather(table, folder / "rows.feather", chunksize=800)
    return folder / "rows.feather"


def _stream(table: pa.Table, folder: Path) -> Path:
    with pa.OSFile(str(folder / "rows.arrows"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=900)
    return folder / "rows.arrows"


def _hive(table: pa.Table, folder: Path) -> Path:
    pq.write_to_dataset(table, folder / "hive", partition_cols=["p"])
    (folder / "hive" / "_SUCCESS").touch()
    return folder / "hive"


def _folder(table: pa.Table, folder: Path) -> Path:
    (folder / "many" / "deep").mkdir(parents=True)
    for i in range(5):
        name = folder / "many" / ("deep" if i % 2 else ".") / f"{i}.parquet"
        pq.write_table(table.slice(i * N // 5, N // 5), name)
    return folder / "many"


def _delta(table: pa.Table, folder: Path) -> Path:
    deltalake = pytest.importorskip("deltalake")
    deltalake.write_deltalake(folder / "delta", table.slice(0, 1000), partition_by=["p"])
    deltalake.write_deltalake(folder / "delta", table.slice(1000), mode="append")
    return folder / "delta"


def _nameless(table: pa.Table, folder: Path) -> Path:
    return _parquet(table, folder).rename(folder / "rows")


WRITERS = [_parquet, _csv, _gzipped, _tabs, _semicolons, _feather, _stream, _hive, _folder, _delta, _nameless]
Writer = Callable[[pa.Table, Path], Path]


def same(one: Sketch, other: Sketch) -> None:
    assert one.rows == other.rows
    assert set(one.columns) == set(other.columns)
    for name, column in one.columns.items():
        found = other.columns[name]
        assert (found.kind, found.rows, found.nulls) == (column.kind, column.rows, column.nulls), name
        match column, found:
            case NumericSketch(), NumericSketch():
                assert found.counts.tolist() == column.counts.tolist(), name
                assert (found.minimum, found.maximum) == (column.minimum, column.maximum)
            case CategoricalSketch(), CategoricalSketch():
                assert dict(zip(found.categories, found.counts.tolist(), strict=True)) == dict(
                    zip(column.categories, column.counts.tolist(), strict=True)
                )
            case BooleanSketch(), BooleanSketch():
                assert found.trues == column.trues
            case TimestampSketch(), TimestampSketch():
                assert (found.minimum, found.maximum) == (column.minimum, column.maximum)
            case _:
                raise AssertionError(name)


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same(write: Writer, tmp_path: Path) -> None:
    reference = summarise_table(rows(1))
    same(summarise_table(rows(), reference=reference), summarise(write(rows(), tmp_path), reference=reference))


@pytest.mark.parametrize("write", WRITERS)
def test_a_reference_from_every_format(write: Writer, tmp_path: Path) -> None:
    same(summarise_table(rows()), summarise(write(rows(), tmp_path)))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("column", ["t", "day"])
def test_a_window(write: Writer, column: str, tmp_path: Path) -> None:
    start, end = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)
    reference = summarise_table(rows(1))
    there = rows().column(column).cast(pa.timestamp("us")).to_numpy()
    inside = (there >= np.datetime64("2024-01-02")) & (there < np.datetime64("2024-01-03"))
    expected = summarise_table(rows().filter(pa.array(inside)), reference=reference)
    found = summarise(open_source(write(rows(), tmp_path), where=(column, start, end)), reference=reference)
    same(expected, found)
    assert 0 < found.rows < N


@pytest.mark.parametrize("write", [_parquet, _hive, _folder, _delta, _csv])
def test_parts_that_are_merged_are_the_whole(write: Writer, tmp_path: Path) -> None:
    path, reference = write(rows(), tmp_path), summarise_table(rows(1))
    files = open_source(path).files()
    parts = split(files, 4)
    assert sorted(file for part in parts for file in part) == sorted(files)
    where = Where("t", datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 2, 12, tzinfo=UTC))
    for span in (None, where):
        sketches = [summarise(open_source(path, files=part, where=span), reference=reference) for part in parts]
        same(summarise(open_source(path, where=span), reference=reference), merge(sketches))


def test_a_single_parquet_file_is_split_by_row_groups(tmp_path: Path) -> None:
    assert len(open_source(_parquet(rows(), tmp_path)).files()) == 5
    assert split(["a", "b", "c"], 8) == [["a"], ["b"], ["c"]]
    assert split(["a", "b", "c"], 2) == [["a"], ["b", "c"]]


def test_windows_in_time_zones(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(24.0), "t": pa.array([START + timedelta(hours=h) for h in range(24)])})
    berlin = table.set_column(
        1, "t", table["t"].cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Europe/Berlin"))
    )
    pq.write_table(berlin, tmp_path / "zoned.parquet", row_group_size=5)
    where = ("t", datetime(2024, 1, 1, 3, tzinfo=UTC), datetime(2024, 1, 1, 5, tzinfo=UTC))
    found = summarise(open_source(tmp_path / "zoned.parquet", where=where)).columns["x"]
    assert isinstance(found, NumericSketch)
    assert (found.minimum, found.maximum, found.rows) == (3, 4, 2)


def test_a_window_without_rows(tmp_path: Path) -> None:
    where = ("t", datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
    found = summarise(open_source(_parquet(rows(), tmp_path), where=where), reference=summarise_table(rows(1)))
    assert found.rows == 0
    assert distances(found.columns["x"], found.columns["x"]).psi is None


def test_columns_are_chosen(tmp_path: Path) -> None:
    path, reference = _parquet(rows(), tmp_path), summarise_table(rows(1))
    assert list(summarise(path, columns=["c", "x"]).columns) == ["c", "x"]
    assert "x" not in summarise(path, exclude=["x"]).columns
    with pytest.raises(DriftError, match=r'no column "ii"\. Did you mean "i"'):
        summarise(path, columns=["ii"])
    less = _csv(rows().drop_columns(["x"]), tmp_path)
    assert list(summarise(less, columns=["x", "i"], reference=reference).columns) == ["i"]
    assert summarise(path, columns=[]).rows == N


def test_a_column_that_the_reference_lacks_is_summarised(tmp_path: Path) -> None:
    reference = summarise_table(rows(1).select(["x"]))
    found = summarise(_parquet(rows(), tmp_path), reference=reference)
    assert isinstance(found.columns["i"], NumericSketch)
    assert found.columns["i"].mean == pytest.approx(np.mean(rows()["i"].to_numpy()))


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    path = _parquet(rows(), tmp_path)
    summarise(path, progress=lambda name, values: told.append((name, values)))
    assert told[-1] == (str(path), N * 7)


def test_more_rows_than_are_kept_for_quantiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.drift.summarise.CAPACITY", 5000)
    values = np.random.default_rng(0).normal(size=60_000)
    pq.write_table(pa.table({"x": np.sort(values)}), tmp_path / "sorted.parquet", row_group_size=7000)
    found = summarise(tmp_path / "sorted.parquet").columns["x"]
    assert isinstance(found, NumericSketch)
    known = np.searchsorted(np.sort(values), found.edges, side="right")
    assert np.cumsum(found.counts)[:-1].tolist() == known.tolist()  # counted, not estimated
    assert np.max(found.counts) / 60_000 < 0.006
    assert not found.distinct_exact
    shares = found.decile_counts()[1] / 60_000
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.02)


@pytest.mark.parametrize(
    "make",
    [pl.from_arrow, lambda table: table.to_pandas(), lambda table: table, lambda table: pl.from_arrow(table).lazy()],
)
def test_tables_in_memory(make: Callable[[pa.Table], Any]) -> None:
    reference = summarise_table(rows(1))
    same(summarise_table(rows(), reference=reference), summarise_table(make(rows()), reference=reference))


def test_a_pandas_column_of_mixed_types() -> None:
    found = summarise_table(pd.DataFrame({"x": [1, "a", None, 2.5], "y": [1.0, np.nan, 2.0, 3.0]}))
    assert (found.columns["x"].kind, found.columns["x"].nulls) == ("categorical", 1)
    assert found.columns["y"].nulls == 1


def test_csv_numbers_with_text_among_them_are_counted_and_shown(tmp_path: Path) -> None:
    values = [f"{v:.6f}" for v in np.random.default_rng(0).normal(size=1000)]
    (tmp_path / "reference.csv").write_text("x\n" + "\n".join(values) + "\n")
    values[500:503] = ["n.a.", " 7 ", "broken"]
    values[600] = "NaN"
    (tmp_path / "current.csv").write_text("x\n" + "\n".join(values) + "\n")
    reference = summarise(tmp_path / "reference.csv")
    found = summarise(tmp_path / "current.csv", reference=reference).columns["x"]
    assert isinstance(found, NumericSketch)
    assert (found.rows, found.nulls, found.unparsed, found.examples) == (1000, 1, 2, ("n.a.", "broken"))
    assert found.maximum == 7
    remarks = distances(reference.columns["x"], found).remarks
    assert "2 rows of these are text where numbers belong: 'n.a.', 'broken'" in remarks


def test_a_csv_column_that_turned_to_text_has_another_type(tmp_path: Path) -> None:
    (tmp_path / "reference.csv").write_text("x\n" + "\n".join(map(str, range(50))))
    (tmp_path / "current.csv").write_text("x\n" + "low\nhigh\n" * 25)
    reference = summarise(tmp_path / "reference.csv")
    found = summarise(tmp_path / "current.csv", reference=reference).columns["x"]
    assert found.kind == "categorical"
    assert "the type changed" in distances(reference.columns["x"], found).notes["psi"]


def test_csv_codes_are_categories_where_the_reference_has_categories(tmp_path: Path) -> None:
    (tmp_path / "current.csv").write_text("zip,flag\n01067,true\n80331,false\n01067,true\n")
    reference = summarise_table(pa.table({"zip": ["01067", "80331"], "flag": [True, False]}))
    found = summarise(tmp_path / "current.csv", reference=reference)
    assert isinstance(found.columns["zip"], CategoricalSketch)
    assert found.columns["zip"].categories == ("01067", "80331")
    assert found.columns["zip"].counts.tolist() == [2, 1]
    assert isinstance(found.columns["flag"], BooleanSketch)
    assert found.columns["flag"].trues == 2


def test_a_csv_file_with_a_header_only(tmp_path: Path) -> None:
    (tmp_path / "current.csv").write_text("x,c\n")
    assert summarise(tmp_path / "current.csv", reference=summarise_table(rows(1))).rows == 0


def test_a_file_lacks_a_column_that_another_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0], "s": pa.nulls(2)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"y": ["a"], "x": pa.array([3], pa.int64()), "s": ["b"]}), tmp_path / "2.parquet")
    found = summarise(tmp_path)
    assert {name: (c.kind, c.rows, c.nulls) for name, c in found.columns.items()} == {
        "x": ("numeric", 3, 0),
        "s": ("categorical", 3, 2),
        "y": ("categorical", 3, 2),
    }


def test_dates_out_of_range_are_counted() -> None:
    values = pa.array([0, 10**18, -(10**18), None], pa.int64()).view(pa.timestamp("s"))
    found = summarise_table(pa.table({"t": values})).columns["t"]
    assert isinstance(found, TimestampSketch)
    assert found.minimum == found.maximum == datetime(1970, 1, 1)  # noqa: DTZ001 - a column without a zone
    assert (found.outside, found.nulls) == (2, 1)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _hole(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [_cut, _hole])
@pytest.mark.parametrize("write", [_parquet, _feather])
def test_a_damaged_file_is_named(write: Writer, harm: Callable[[Path], None], tmp_path: Path) -> None:
    path = write(rows(), tmp_path)
    harm(path)
    with pytest.raises(DriftError, match="cannot be read") as caught:
        summarise(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.feather", "a"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DriftError, match="is empty"):
        summarise(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DriftError, match="no such file or folder"):
        summarise(tmp_path / "missing.parquet")
    with pytest.raises(DriftError, match="no file with rows"):
        summarise(tmp_path)


def test_a_folder_of_two_formats(tmp_path: Path) -> None:
    _parquet(rows(), tmp_path)
    _csv(rows(), tmp_path)
    with pytest.raises(DriftError, match=r"several formats: CSV \(rows.csv\), Parquet \(rows.parquet\)"):
        summarise(tmp_path)


def test_columns_of_one_name(tmp_path: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("x,x\n1,2\n")
    for path in (tmp_path / "a.parquet", tmp_path / "a.csv"):
        with pytest.raises(DriftError, match='more than one column called "x"') as caught:
            summarise(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DriftError, match="more than one column"):
        summarise_table(twice)


def test_files_of_different_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": ["a"]}), tmp_path / "2.parquet")
    with pytest.raises(DriftError, match=r'2\.parquet: column "x" is of type string, in other files of type double'):
        summarise(tmp_path)


@pytest.mark.parametrize("write", [_parquet, _csv, _feather])
def test_a_file_that_changes_while_it_is_read(write: Writer, tmp_path: Path) -> None:
    path = write(rows(), tmp_path)

    def append(name: str, values: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        os.utime(path, (1, values))

    with pytest.raises(DriftError, match="changed while it was read"):
        summarise(path, progress=append)


def test_a_window_needs_a_time_column(tmp_path: Path) -> None:
    span = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))
    for path in (_parquet(rows(), tmp_path), _feather(rows(), tmp_path)):
        with pytest.raises(DriftError, match='no time column "when"'):
            summarise(open_source(path, where=("when", *span)))
        with pytest.raises(DriftError, match='column "x" is of type double; a window needs dates or times'):
            summarise(open_source(path, where=("x", *span)))


def test_delta_without_the_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _delta(rows(), tmp_path)
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(DriftError, match=r"pip install 'tidemill\[delta\]'"):
        open_source(path)


def test_a_scheme_that_is_not_known() -> None:
    with pytest.raises(DriftError, match="nfs9://host/file cannot be opened"):
        open_source("nfs9://host/file")
