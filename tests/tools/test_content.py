"""The hash of rows: it follows from the rows alone, and from all of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tidemill.tools.content import ContentHash

ROWS = pl.DataFrame(
    {
        "integer": [1, None, 3],
        "number": [1.5, float("nan"), None],
        "text": ["x", None, "yé"],
        "flag": [True, None, False],
        "instant": [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
        "day": [date(2020, 1, 1), None, date(2020, 1, 3)],
        "time": [time(1), None, time(2)],
        "span": [timedelta(1), None, timedelta(2)],
        "list": [[1], [2, 3], None],
        "exact": [Decimal("1.1"), None, Decimal("2.2")],
        "bytes": [b"a", b"", None],
        "nothing": [None, None, None],
    }
).with_columns(category=pl.col("text").cast(pl.Categorical))


def digest(*frames: pl.DataFrame) -> str:
    found = ContentHash()
    for frame in frames:
        found.add(frame)
    return found.digest()


def test_it_does_not_depend_on_how_many_rows_come_at_a_time() -> None:
    assert digest(ROWS) == digest(ROWS[:1], ROWS[1:]) == digest(*(ROWS[i : i + 1] for i in range(3)))


@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_nor_on_the_file(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.parquet"
    frame = ROWS.drop("nothing")
    frame.write_parquet(path, compression=compression, row_group_size=1)  # type: ignore[arg-type]
    assert digest(pl.read_parquet(path)) == digest(frame)


def test_nor_on_the_codes_of_categories() -> None:
    pl.Series(["zzz", "yé"]).cast(pl.Categorical)
    assert digest(ROWS.select(a=pl.col("text").cast(pl.Categorical))) == digest(ROWS.select(a="text"))


@pytest.mark.parametrize("column", [name for name in ROWS.columns if name != "nothing"])
def test_every_value_counts_and_its_place(column: str) -> None:
    one = ROWS.select(column)
    others = [one.reverse(), one.head(2), one.rename({column: "other"}), pl.concat([one, one.head(1)])]
    assert len({digest(one), *map(digest, others)}) == 5


def test_values_do_not_run_into_each_other() -> None:
    pairs = [["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], [None, "abc"]]
    assert len({digest(pl.DataFrame({"a": pair})) for pair in pairs}) == 5


def test_a_missing_value_is_no_zero_and_a_type_is_part_of_it() -> None:
    kinds = [pl.Int64, pl.Int32, pl.Float64, pl.String]
    frames = [pl.DataFrame({"a": [0, 0]}).select(pl.col("a").cast(kind)) for kind in kinds]
    assert len({*map(digest, frames), digest(pl.DataFrame({"a": [0, None]}, schema={"a": pl.Int64}))}) == 5


def test_it_is_the_same_for_ever() -> None:
    """Stored as the data version of predictions: another one would score everything anew."""
    frame = pl.DataFrame({"id": [1, None, 3], "x": [0.5, -1.0, None], "t": ["a", "", None]})
    assert digest(frame) == "56b26bcbfa43126e81235ae152d12ca1420b3f3ef24102afee12845ad14e8f81"
