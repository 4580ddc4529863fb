"""Tabular sources: a Parquet file, a folder of Parquet files, or a CSV file; and the rows of a window.

A source is scanned, never loaded: only the rows of the window reach memory. Times without a zone are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidemill.spec.errors import printable, suggest
from tidemill.steps.context import StepError

if TYPE_CHECKING:
    import polars as pl

_PARQUET: Final = (".parquet", ".pq")
_CSV: Final = (".csv", ".csv.gz")
_SHOWN_COLUMNS: Final = 30
_ROW_GROUP: Final = 128 * 1024
"""Rows of one Parquet row group. Part of what makes equal rows equal bytes: a change makes new versions."""


class SourceError(StepError):
    """A source cannot give the rows that were asked for; the message says what to do."""


def scan(path: Path) -> pl.LazyFrame:
    """The rows of a source, unread.

    `path` is a `.parquet` file, a folder that holds `.parquet` files at any depth (read in the order of their
    paths; `name=value` folders become columns), or a `.csv` file with a header. The types of a CSV's columns
    are those that hold for all of its rows: a column that mixes numbers and text is text.

    Raises:
        SourceError: there is no such file, it is of another kind, empty, or cannot be read.
    """
    import polars as pl

    with _readable(path):
        if path.is_dir():
            files = _parquet_files(path)
            hive = any("=" in part for file in files for part in file.relative_to(path).parent.parts)
            frame = pl.scan_parquet(files, glob=False, hive_partitioning=hive)
        elif not path.exists():
            raise SourceError(_missing(path))
        elif path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes): write the data anew.")
        elif path.name.lower().endswith(_PARQUET):
            frame = pl.scan_parquet(path, glob=False)
        elif path.name.lower().endswith(_CSV):
            frame = pl.scan_csv(path, try_parse_dates=True, infer_schema_length=None, glob=False)
        else:
            raise SourceError(f"{path} is neither Parquet nor CSV by its name: use a .parquet or .csv file.")
        frame.collect_schema()
    return frame


def window(
    path: Path,
    column: str,
    start: datetime,
    end: datetime,
    *,
    order: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> pl.DataFrame:
    """The rows with `start` <= `column` < `end`, sorted by that column.

    Rows of equal time are sorted by `order` (the key), and keep the source's order where that decides nothing
    either; with a key that identifies rows, the result does not depend on how the source is laid out. Rows
    without a time belong to no window. `columns` must exist besides `column` and `order`.

    Raises:
        SourceError: as `scan`; a column is missing (all of them are named); `column` holds no times; or there
            are no such rows, with the source's first and last time.
    """
    frame = scan(path)
    require(path, frame.collect_schema().names(), [column, *order, *columns])
    time, zone = _time(path, frame, column)
    with _readable(path):
        inside = frame.filter(time >= _bound(start, zone), time < _bound(end, zone))
        rows = inside.collect(engine="streaming")
    if rows.is_empty():
        raise SourceError(no_rows(path, column, start, end))
    return rows.sort(column, *order, maintain_order=True)


def batches(
    path: Path,
    column: str,
    start: datetime,
    end: datetime,
    rows: int,
    *,
    require_columns: Sequence[str] = (),
    leave_out: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """The rows with `start` <= `column` < `end` in the order of the source, `rows` at a time (the last ones fewer).

    Only a few batches are in memory at once. `require_columns` must exist; those to `leave_out` need not.

    Raises:
        SourceError: as `scan`; a column is missing, or `column` holds no times; the source cannot be read to its end.
    """
    import polars as pl

    frame = scan(path)
    require(path, frame.collect_schema().names(), [column, *require_columns])
    time, zone = _time(path, frame, column)
    inside = frame.filter(time >= _bound(start, zone), time < _bound(end, zone)).drop(leave_out, strict=False)
    kept: list[pl.DataFrame] = []
    height = 0
    with _readable(path):
        for chunk in inside.collect_batches(chunk_size=rows, maintain_order=True):
            kept.append(chunk)
            height += chunk.height
            while height >= rows:  # Polars promises no sizes
                whole = pl.concat(kept)
                yield whole.head(rows)
                kept, height = [whole.slice(rows)], height - rows
    if height:
        yield pl.concat(kept)


def matching(
    path: Path,
    keys: pl.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    within: tuple[str, datetime, datetime] | None = None,
) -> pl.DataFrame:
    """The rows of a source whose key is one of `keys`, whose columns are the key; a missing value is no key's.

    `columns`: those to read besides the key, all if absent. `within`: the time column and the span of the rows. The
    key comes back in the types that it has in `keys`.

    Raises:
        SourceError: as `scan`; a column is missing, or a key's type is another one there.
    """
    import polars as pl

    frame = scan(path)
    schema = frame.collect_schema()
    require(path, schema.names(), [*keys.columns, *(columns or ())])
    if within is not None:
        column, start, end = within
        require(path, schema.names(), [column])
        time, zone = _time(path, frame, column)
        frame = frame.filter(time >= _bound(start, zone), time < _bound(end, zone))
    given = keys.schema
    for name, kind in given.items():
        alike = _alike(kind, schema[name])
        if alike is None:
            raise SourceError(
                f'the key "{printable(name)}" is {schema[name]} in {path} and {kind} in the rows it is to be joined '
                "with: write it as one type in both"
            )
        frame = frame.with_columns(pl.col(name).cast(alike))
        keys = keys.with_columns(pl.col(name).cast(alike))
    if columns is not None:
        frame = frame.select([*keys.columns, *(name for name in columns if name not in keys.columns)])
    with _readable(path):
        found = frame.join(keys.lazy().unique(), on=keys.columns, how="semi").collect(engine="streaming")
        return found.with_columns(pl.col(name).cast(kind) for name, kind in given.items())


def count_rows(path: Path, column: str, start: datetime, end: datetime, *, filled: str | None = None) -> int:
    """How many rows have `start` <= `column` < `end`; none is an answer here. Reads that column only.

    `filled`: only rows that have a value there (NaN is none); none have where there is no such column.

    Raises:
        SourceError: as `bounds`.
    """
    import polars as pl

    frame = scan(path)
    schema = frame.collect_schema()
    require(path, schema.names(), [column])
    if filled is not None and filled not in schema:
        return 0
    time, zone = _time(path, frame, column)
    with _readable(path):
        inside = frame.filter(time >= _bound(start, zone), time < _bound(end, zone))
        if filled is not None:
            known = pl.col(filled).is_not_null()
            inside = inside.filter(known & pl.col(filled).is_not_nan() if schema[filled].is_float() else known)
        return int(inside.select(pl.len()).collect(engine="streaming").item())


def holding(path: Path, column: str, start: datetime, end: datetime) -> list[Path]:
    """The files of a source that may hold rows with `start` <= `column` < `end`; at least one, for its columns.

    Raises:
        SourceError: as `scan`; `column` holds no times.
    """
    if not path.is_dir():
        scan(path)
        return [path]
    files = _parquet_files(path)
    if (path / "_delta_log").is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    found = [file for file in files if _may_hold(file, column, start, end)]
    return found or files[:1]


def _may_hold(file: Path, column: str, start: datetime, end: datetime) -> bool:
    import polars as pl

    frame = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    with _readable(file):
        if column not in frame.collect_schema():
            return True  # its folder's name may say it
    time, zone = _time(file, frame, column)
    with _readable(file):
        inside = frame.filter(time >= _bound(start, zone), time < _bound(end, zone)).select(column).head(1)
        return not inside.collect(engine="streaming").is_empty()


def bounds(path: Path, column: str) -> tuple[datetime, datetime] | None:
    """The first and last time of a source, in UTC; `None` if no row has one.

    Raises:
        SourceError: as `scan`; there is no such column, or it holds no times.
    """
    frame = scan(path)
    require(path, frame.collect_schema().names(), [column])
    time, _ = _time(path, frame, column)
    with _readable(path):
        both = frame.select(first=time.min(), last=time.max()).collect(engine="streaming")
    first, last = both.row(0)
    return None if first is None else (first.replace(tzinfo=UTC), last.replace(tzinfo=UTC))


def require(path: Path, present: Sequence[str], wanted: Iterable[str]) -> None:
    """Check that all `wanted` columns are `present`.

    Raises:
        SourceError: some are not; each is named, with what it was probably meant to be.
    """
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if not missing:
        return
    near = {name: suggest(name, present) for name in missing}
    named = ", ".join(f'"{n}"' + (f' (did you mean "{near[n]}"?)' if near[n] else "") for n in missing)
    shown = ", ".join(present[:_SHOWN_COLUMNS]) + (", …" if len(present) > _SHOWN_COLUMNS else "")
    plural = "s" if len(missing) > 1 else ""
    raise SourceError(f"{path} has no column{plural} {printable(named)}. Its columns: {printable(shown)}.")


def split(rows: pl.DataFrame, column: str, at: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a window whose time is before `at`, and those from `at` on, each in their order."""
    time, zone = _comparable(column, rows.schema[column])
    early = rows.select(time < _bound(at, zone)).to_series()
    return rows.filter(early), rows.filter(~early)


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file whose bytes depend on the rows and their types alone, not on threads or chunks.

    (And on the version of the Parquet writer: another one may make another version of the same rows.)

    Raises:
        SourceError: a column is of a type that Parquet does not hold.
        OSError: the file cannot be written, e.g. the disk is full.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A categorical's codes follow the order in which a process met the values: no property of the rows.
        table = frame.with_columns(pl.col(pl.Categorical).cast(pl.String)).to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        pq.write_table(table.combine_chunks(), path, compression="zstd", row_group_size=_ROW_GROUP)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException) as e:
        odd = (f'"{n}" {t}' for n, t in frame.schema.items() if t.is_nested() or t in (pl.Int128, pl.UInt128))
        why = f"{_first_line(e)}; look at {printable(', '.join(odd) or 'the types of its columns')}"
        raise SourceError(f"the rows cannot be written as Parquet: {why}.") from e


def _parquet_files(folder: Path) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.name.lower().endswith(_PARQUET) and p.is_file())
    # What writers leave behind, and hide by such names, is not data (_temporary/, .part-0.parquet.crc).
    files = sorted(p for p in found if not any(q.startswith(("_", ".")) for q in p.relative_to(folder).parts))
    if not files:
        raise SourceError(f"the folder {folder} holds no .parquet file.")
    for file in files:
        if file.stat().st_size == 0:
            raise SourceError(f"{file} is empty (0 bytes): write it anew, or remove it.")
    return files


def _missing(path: Path) -> str:
    text = f"there is no file or folder {path}"
    if not path.parent.is_dir():
        return f"{text}; its folder does not exist either. Check data.source."
    near = suggest(path.name, (p.name for p in path.parent.iterdir()))
    return f'{text}. Did you mean "{near}"?' if near else f"{text}. Check data.source."


def _time(path: Path, frame: pl.LazyFrame, column: str) -> tuple[pl.Expr, str | None]:
    import polars as pl

    dtype = frame.collect_schema()[column]
    if isinstance(dtype, pl.Datetime | pl.Date):
        return _comparable(column, dtype)
    with _readable(path):
        values = frame.select(pl.col(column).drop_nulls().first()).collect(engine="streaming")
    value = values.item() if values.height else None
    example = f", e.g. {value!r}"[:60] if value is not None else " (no row has a value)"
    raise SourceError(
        f'column "{printable(column)}" of {path} is no time but {dtype}{example}. Name a date or timestamp '
        "column in data.window.column, or write it as one (in CSV: 2013-07-01T06:00:00Z)."
    )


def _comparable(column: str, dtype: pl.DataType) -> tuple[pl.Expr, str | None]:
    """A time column as UTC, and its zone then: "UTC" or none. The column itself where it can be, so that
    Parquet's statistics spare what lies outside the window."""
    import polars as pl

    time, zone = pl.col(column), getattr(dtype, "time_zone", None)
    if isinstance(dtype, pl.Date) or (isinstance(dtype, pl.Datetime) and dtype.time_unit == "ms"):
        time = time.cast(pl.Datetime("us", zone))  # a bound may lie between two milliseconds
    if zone in (None, "UTC"):
        return time, zone
    return time.dt.convert_time_zone("UTC"), "UTC"


def _bound(instant: datetime, zone: str | None) -> pl.Expr:
    import polars as pl

    instant = instant.astimezone(UTC)
    return pl.lit(instant if zone else instant.replace(tzinfo=None))


def no_rows(path: Path, column: str, start: datetime, end: datetime) -> str:
    """The message that a source has no rows in [`start`, `end`), with the first and last time that it has."""
    found = bounds(path, column)
    asked = f"{path} has no rows with {_iso(start)} <= {printable(column)} < {_iso(end)}"
    if found is None:
        return f'{asked}: no row has a value in "{printable(column)}".'
    return f"{asked}: its first is at {_iso(found[0])}, its last at {_iso(found[1])}."


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ") + "Z"


def _alike(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """The type in which values of both can be compared; `None` if there is none."""
    import polars as pl

    if one == other:
        return one
    if one.is_integer() and other.is_integer():
        return pl.Int64()
    texts = (pl.String, pl.Categorical, pl.Enum)
    if isinstance(one, texts) and isinstance(other, texts):
        return pl.String()
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        return pl.Datetime("us", one.time_zone)
    return None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong inside is a SourceError about `path`."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as e:
        # A damaged file makes the reader panic, which is no Exception.
        raise SourceError(f"{path} cannot be read: {_first_line(e)}. Check it, or write it anew.") from e


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0])[:300].rstrip(".") if lines else type(error).__name__
