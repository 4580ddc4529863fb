"""Sources: what a window selects, what is refused and in which words, and that a version's bytes are the rows'."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.tools import source
from tidemill.tools.source import SourceError

START, END = datetime(2013, 1, 3, tzinfo=UTC), datetime(2013, 1, 6, tzinfo=UTC)
DAYS = [datetime(2013, 1, day + 1) for day in range(10)]  # noqa: DTZ001 - as they are stored


def rows(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"time": DAYS, "id": list(range(10))} | columns)


def saved(path: Path, frame: pl.DataFrame | None = None) -> Path:
    (rows() if frame is None else frame).write_parquet(path)
    return path


class TestWindow:
    def test_holds_its_start_and_not_its_end(self, tmp_path: Path) -> None:
        found = source.window(saved(tmp_path / "a.parquet"), "time", START, END)
        assert found["id"].to_list() == [2, 3, 4]

    def test_is_sorted_by_time_then_key_then_source(self, tmp_path: Path) -> None:
        frame = pl.DataFrame({"time": [DAYS[3], DAYS[2], DAYS[3], DAYS[3]], "id": [7, 9, 5, 5], "n": [0, 1, 2, 3]})
        path = saved(tmp_path / "a.parquet", frame)
        assert source.window(path, "time", START, END)["n"].to_list() == [1, 0, 2, 3]
        assert source.window(path, "time", START, END, order=["id"])["n"].to_list() == [1, 2, 3, 0]

    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    @pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
    def test_times_of_every_unit_and_zone_are_utc(self, tmp_path: Path, unit: str, zone: str | None) -> None:
        time = pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone(zone or "UTC")
        if zone is None:
            time = time.dt.replace_time_zone(None)
        path = saved(tmp_path / "a.parquet", rows().with_columns(time.dt.cast_time_unit(unit)))
        assert source.window(path, "time", START, END)["id"].to_list() == [2, 3, 4]
        assert source.count_rows(path, "time", START, END) == 3
        assert source.bounds(path, "time") == (DAYS[0].replace(tzinfo=UTC), DAYS[-1].replace(tzinfo=UTC))

    def test_a_bound_between_two_milliseconds_is_not_rounded(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet", rows().with_columns(pl.col("time").dt.cast_time_unit("ms")))
        late = START + timedelta(microseconds=1)
        assert source.window(path, "time", late, END)["id"].to_list() == [3, 4]
        assert source.window(path, "time", START, late)["id"].to_list() == [2]

    def test_a_date_is_its_midnight(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet", rows().with_columns(pl.col("time").cast(pl.Date)))
        noon = START + timedelta(hours=12)
        assert source.window(path, "time", noon, END)["time"].to_list() == [date(2013, 1, 4), date(2013, 1, 5)]
        assert source.bounds(path, "time") == (DAYS[0].replace(tzinfo=UTC), DAYS[-1].replace(tzinfo=UTC))

    def test_an_empty_one_says_what_there_is(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet")
        with pytest.raises(SourceError) as error:
            source.window(path, "time", datetime(2014, 1, 1, tzinfo=UTC), datetime(2014, 2, 1, tzinfo=UTC))
        assert str(error.value) == (
            f"{path} has no rows with 2014-01-01 00:00:00Z <= time < 2014-02-01 00:00:00Z: its first is at "
            "2013-01-01 00:00:00Z, its last at 2013-01-10 00:00:00Z."
        )

    def test_rows_without_a_time_belong_to_none(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet", rows().with_columns(time=pl.lit(None, dtype=pl.Datetime("us"))))
        with pytest.raises(SourceError, match='no row has a value in "time"'):
            source.window(path, "time", START, END)
        assert source.count_rows(path, "time", START, END) == 0

    def test_split_parts_at_an_instant(self, tmp_path: Path) -> None:
        found = source.window(saved(tmp_path / "a.parquet"), "time", START, END)
        early, late = source.split(found, "time", datetime(2013, 1, 4, tzinfo=UTC))
        assert (early["id"].to_list(), late["id"].to_list()) == ([2], [3, 4])

    def test_reads_only_what_it_needs_of_a_large_source(self, tmp_path: Path) -> None:
        path, n = tmp_path / "large.parquet", 3_000_000
        times = pl.datetime_range(DAYS[0], DAYS[0] + timedelta(seconds=n - 1), "1s", eager=True)
        columns = {f"x{i}": (times.dt.epoch() * (i + 7)) % 1000003 for i in range(12)}
        pl.DataFrame({"time": times, **columns}).write_parquet(path, row_group_size=100_000)
        code = (
            "import sys; from datetime import *; from pathlib import Path; from resource import *\n"
            "from tidemill.tools import source\n"
            "def rows(path, hours):\n"
            "    start = datetime(2013, 1, 3, tzinfo=UTC)\n"
            "    return source.window(Path(path), 'time', start, start + timedelta(hours=hours)).height\n"
            "assert rows(sys.argv[2], 1) == 1\n"
            "before = getrusage(RUSAGE_SELF).ru_maxrss\n"
            "assert rows(sys.argv[1], 1) == 3600\n"
            "print(getrusage(RUSAGE_SELF).ru_maxrss - before)"
        )
        small = saved(tmp_path / "small.parquet")
        grown = subprocess.run([sys.executable, "-c", code, path, small], check=True, capture_output=True, text=True)
        assert int(grown.stdout) * 1024 < n * 13 * 8 / 3, "a third of the rows would have been read"


class TestForms:
    def test_a_folder_is_read_in_the_order_of_its_paths(self, tmp_path: Path) -> None:
        folder = tmp_path / "rows"
        for name, part in (("b/part-0.parquet", rows()[:5]), ("a.PQ", rows()[5:]), ("_tmp/x.parquet", rows())):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            saved(folder / name, part)
        (folder / "_SUCCESS").touch()
        assert source.scan(folder).collect()["id"].to_list() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]

    def test_folders_named_after_values_become_columns(self, tmp_path: Path) -> None:
        for month in ("01", "02"):
            (tmp_path / f"month={month}").mkdir()
            saved(tmp_path / f"month={month}" / "part.parquet", rows().select("time"))
        assert source.scan(tmp_path).collect()["month"].unique(maintain_order=True).to_list() == [1, 2]

    def test_brackets_in_a_name_are_no_pattern(self, tmp_path: Path) -> None:
        assert source.scan(saved(tmp_path / "rows[1]*.parquet")).collect().height == 10

    @pytest.mark.parametrize("text", ["2013-01-04T00:00:00Z", "2013-01-04 02:00:00+02:00", "2013-01-04"])
    def test_times_in_csv(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "a.csv"
        path.write_text(f"time,name\n{text},Zoë ✈\n")
        assert source.window(path, "time", START, END)["name"].to_list() == ["Zoë ✈"]

    def test_a_csv_column_of_numbers_and_text_is_text_wherever_the_text_stands(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        numbers = "".join(f"2013-01-03,{i},{i}\n" for i in range(20_000))
        path.write_text(f"time,code,n\n{numbers}2013-01-03,x,0.5\n")
        found = source.window(path, "time", START, END)
        assert found.schema["code"] == pl.String
        assert found.schema["n"] == pl.Float64
        assert found["code"][-1] == "x"

    def test_csv_knows_nan_and_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("time,x\n2013-01-03,NaN\n2013-01-03,\n2013-01-03,1.5\n")
        found = source.window(path, "time", START, END)["x"]
        assert found.is_nan().sum() == 1
        assert found.null_count() == 1


def _nothing(path: Path) -> Path:
    return path / "row.parquet"


def _empty(path: Path) -> Path:
    (path / "a.parquet").touch()
    return path / "a.parquet"


def _truncated(path: Path) -> Path:
    data = saved(path / "a.parquet").read_bytes()
    (path / "a.parquet").write_bytes(data[: len(data) // 2])
    return path / "a.parquet"


def _scrambled(path: Path) -> Path:
    data = bytearray(saved(path / "a.parquet").read_bytes())
    data[20:120] = bytes(100)
    (path / "a.parquet").write_bytes(data)
    return path / "a.parquet"


def _no_parquet(path: Path) -> Path:
    (path / "x.txt").touch()
    return path


def _one_empty(path: Path) -> Path:
    saved(path / "a.parquet")
    (path / "b.parquet").touch()
    return path


def _unlike(path: Path) -> Path:
    saved(path / "a.parquet")
    saved(path / "b.parquet", rows().with_columns(pl.col("id").cast(pl.String)))
    return path


def _other(path: Path) -> Path:
    (path / "a.xlsx").write_text("x")
    return path / "a.xlsx"


def csv(text: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / "a.csv").write_bytes(text)
        return path / "a.csv"

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_nothing, 'no file or folder .*row.parquet. Did you mean "rows.parquet"'),
        (lambda p: p / "no" / "rows.parquet", "its folder does not exist either"),
        (_empty, r"a.parquet is empty \(0 bytes\)"),
        (_truncated, "a.parquet cannot be read: "),
        (_scrambled, "a.parquet cannot be read: "),
        (_no_parquet, "holds no .parquet file"),
        (_one_empty, r"b.parquet is empty \(0 bytes\)"),
        (_unlike, "cannot be read: "),
        (_other, "neither Parquet nor CSV"),
        (csv(b""), "empty"),
        (csv(b"time,id\n2013-01-03,1,2\n"), "found more fields"),
        (csv(b"time,id\n2013-01-03,\xff\xfe\n"), "utf-8"),
        (csv(b'time,id\n2013-01-03,"abc\n'), "could not parse"),
        (csv(b"time,id\n"), r'column "time" of .* is no time but String \(no row has a value\)'),
        (csv(b"time,id\nnoon,1\n2013-01-03,2\n"), r"""is no time but String, e.g. 'noon'.*write it as one"""),
        (csv(b"when,id\n2013-01-03,1\n"), 'has no column "time"'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    saved(tmp_path / "rows.parquet")
    (tmp_path / "place").mkdir()
    path = make(tmp_path if make is _nothing else tmp_path / "place")
    with pytest.raises(SourceError, match=said) as error:
        source.window(path, "time", START, END)
    assert "\n" not in str(error.value)


def test_every_cut_of_a_parquet_file_is_an_error_and_no_crash(tmp_path: Path) -> None:
    data = saved(tmp_path / "a.parquet").read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        damaged = bytearray(data)
        at = chance.randrange(len(data))
        damaged[at : at + 40] = chance.randbytes(40)
        (tmp_path / "b.parquet").write_bytes(damaged[: chance.randrange(len(data))])
        with pytest.raises(SourceError):
            source.window(tmp_path / "b.parquet", "time", START, END)


def test_missing_columns_are_named_all_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.parquet")
    with pytest.raises(SourceError) as error:
        source.window(path, "tme", START, END, order=["id", "carrier"], columns=["late"])
    assert str(error.value) == (
        f'{path} has no columns "tme" (did you mean "time"?), "carrier", "late". Its columns: time, id.'
    )


def test_a_column_of_numbers_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r'column "id" of .* is no time but Int64, e.g. 0\. Name a date'):
        source.window(saved(tmp_path / "a.parquet"), "id", START, END)


_WRITE = """
import sys, polars as pl
from pathlib import Path
from tidemill.tools import source
frame = pl.read_parquet(sys.argv[1])
frame = pl.concat([frame[: int(sys.argv[3])], frame[int(sys.argv[3]) :]], rechunk=False)
frame = frame.with_columns(pl.concat([pl.Series("c", ["z", "y", "x"]), frame["c"]]).cast(pl.Categorical)[3:])
source.write(frame, Path(sys.argv[2]))
"""


def test_equal_rows_are_equal_bytes_in_every_process(tmp_path: Path) -> None:
    n = 300_000
    frame = pl.DataFrame(
        {
            "time": pl.datetime_range(DAYS[0], DAYS[0] + timedelta(seconds=n - 1), "1s", eager=True),
            "x": [i % 97 / 7 if i % 11 else None for i in range(n)],
            "c": ["abc"[i % 3] for i in range(n)],
        }
    )
    frame.write_parquet(tmp_path / "in.parquet")
    hashes = set()
    for run, (threads, chunk) in enumerate((("1", "17"), ("4", "200001"))):
        out = tmp_path / f"out{run}.parquet"
        command = [sys.executable, "-c", _WRITE, tmp_path / "in.parquet", out, chunk]
        subprocess.run(command, check=True, env={**os.environ, "POLARS_MAX_THREADS": threads})
        hashes.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(hashes) == 1
    source.write(frame.with_columns(c=pl.col("c").cast(pl.Categorical)), tmp_path / "here.parquet")
    assert hashlib.sha256((tmp_path / "here.parquet").read_bytes()).hexdigest() in hashes
    assert pl.read_parquet(tmp_path / "here.parquet").equals(frame)


def test_a_type_that_parquet_does_not_hold_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1], "big": pl.Series([10**20], dtype=pl.Int128)})
    with pytest.raises(SourceError, match=r'cannot be written as Parquet: .* look at "big" Int128'):
        source.write(frame, tmp_path / "a.parquet")


class TestBatches:
    def whole(self, path: Path, rows: int) -> list[pl.DataFrame]:
        return list(source.batches(path, "time", START, END, rows))

    @pytest.mark.parametrize("count", [1, 2, 3, 100])
    def test_the_windows_rows_in_the_sources_order_so_many_at_a_time(self, tmp_path: Path, count: int) -> None:
        backwards = rows().reverse()
        found = self.whole(saved(tmp_path / "a.parquet", backwards), count)
        assert pl.concat(found)["id"].to_list() == [4, 3, 2]
        assert [frame.height for frame in found] == [count] * (3 // count) + [3 % count] * (3 % count > 0)

    def test_a_folder_is_one_source_whose_files_do_not_end_a_batch(self, tmp_path: Path) -> None:
        for name, frame in (("b", rows().head(4)), ("a", rows().slice(4))):
            saved(tmp_path / f"{name}.parquet", frame)
        assert [frame["id"].to_list() for frame in self.whole(tmp_path, 2)] == [[4, 2], [3]]

    def test_no_rows_are_no_batches(self, tmp_path: Path) -> None:
        assert self.whole(saved(tmp_path / "a.parquet", rows().head(1)), 5) == []

    def test_columns_that_are_left_out_need_not_be_there(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet")
        found = source.batches(path, "time", START, END, 9, leave_out=["id", "nothing"])
        assert next(found).columns == ["time"]

    def test_one_that_is_required_and_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match='no column "flight"'):
            next(source.batches(saved(tmp_path / "a.parquet"), "time", START, END, 9, require_columns=["flight"]))

    def test_a_file_that_is_cut_off_is_an_error(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(SourceError, match="cannot be read"):
            self.whole(path, 9)


class TestMatching:
    def test_the_rows_whose_key_is_asked_for(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet", rows(x=list("abcdefghij")))
        found = source.matching(path, pl.DataFrame({"id": [3, 3, 99, None]}), ["x"])
        assert found.rows() == [(3, "d")]
        assert source.matching(path, pl.DataFrame({"id": [3]})).columns == ["time", "id", "x"]

    def test_of_a_window_alone(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.parquet")
        found = source.matching(path, pl.DataFrame({"id": [1, 2]}), [], within=("time", START, END))
        assert found["id"].to_list() == [2]

    @pytest.mark.parametrize(
        ("here", "there"), [(pl.Int64, pl.Int16), (pl.UInt8, pl.Int64), (pl.String, pl.Categorical)]
    )
    def test_types_that_can_be_compared_are(self, tmp_path: Path, here: pl.DataType, there: pl.DataType) -> None:
        path = saved(tmp_path / "a.parquet", pl.DataFrame({"id": ["1", "2"]}).with_columns(pl.col("id").cast(there)))
        keys = pl.DataFrame({"id": ["2", "3"]}).with_columns(pl.col("id").cast(here))
        found = source.matching(path, keys)
        assert found.schema["id"] == here
        assert found["id"].cast(pl.String).to_list() == ["2"]

    def test_others_are_an_error_that_names_both(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r'the key "id" is Int64 in .* and String in the rows'):
            source.matching(saved(tmp_path / "a.parquet"), pl.DataFrame({"id": ["1"]}))
