"""Step data: the window's arithmetic, the checks of its rows, one version for one content, one training for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.ledger import views
from tidemill.project import Project
from tidemill.records import DataVersion, Promotion
from tidemill.spec import units
from tidemill.spec.models import Window
from tidemill.steps import data
from tidemill.steps.code import code_version
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.ledger_io import record
from tidemill.tools.dvc import DvcStore

Make = Callable[..., StepContext]
FIRST = datetime(2013, 1, 1)  # noqa: DTZ001 - as it is stored


def flights(days: int = 200) -> pl.DataFrame:
    """One row a day from 2013-01-01 on."""
    return pl.DataFrame(
        {
            "id": range(days),
            "time": [FIRST + timedelta(days=day) for day in range(days)],
            "carrier": ["ÜA" if day % 3 else "B6" for day in range(days)],
            "delay": [float(day % 7) if day % 5 else None for day in range(days)],
            "late": [day % 2 == 0 for day in range(days)],
        }
    )


@pytest.fixture
def save(project: Project) -> Callable[[pl.DataFrame], None]:
    return lambda frame: frame.write_parquet(project.root / "include" / "rows.parquet")


@pytest.fixture(autouse=True)
def rows(save: Callable[[pl.DataFrame], None]) -> None:
    save(flights())


class TestSpans:
    def test_the_holdout_ends_at_as_of_and_the_training_rows_where_it_begins(self) -> None:
        window = Window.model_validate({"column": "t", "train": "5 months", "holdout": "1 month"})
        spans = data.Spans.of(window, datetime(2013, 7, 1, tzinfo=UTC))
        assert spans.start == datetime(2013, 1, 1, tzinfo=UTC)
        assert spans.middle == datetime(2013, 6, 1, tzinfo=UTC)
        assert spans.end == datetime(2013, 7, 1, tzinfo=UTC)

    def test_the_end_of_a_month_stays_in_it(self) -> None:
        window = Window.model_validate({"column": "t", "train": "1 month", "holdout": "1 month"})
        spans = data.Spans.of(window, datetime(2013, 3, 31, tzinfo=UTC))
        assert spans.middle == datetime(2013, 2, 28, tzinfo=UTC)
        assert spans.start == datetime(2013, 1, 28, tzinfo=UTC)

    @given(
        as_of=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        train=st.sampled_from(["1 h", "90 d", "5 months", "2 years"]),
        holdout=st.sampled_from(["30 min", "1 d", "1 month", "1 quarter"]),
    )
    def test_they_never_overlap_and_leave_no_gap(self, as_of: datetime, train: str, holdout: str) -> None:
        window = Window.model_validate({"column": "t", "train": train, "holdout": holdout})
        spans = data.Spans.of(window, as_of)
        assert spans.start < spans.middle < spans.end == as_of
        assert units.calendar(holdout).before(as_of) == spans.middle


class TestVersion:
    def test_holds_the_rows_of_the_window(self, make_context: Make, project: Project) -> None:
        found = data.run(make_context("data"))
        assert (found.train.rows, found.holdout.rows) == (61, 30)  # April and May; June
        folder = DvcStore(project).fetch(found.version)
        assert str(folder) == found.path
        train, holdout = (pl.read_parquet(folder / f"{name}.parquet") for name in ("train", "holdout"))
        expected = flights()
        assert train.equals(expected.filter(pl.col("time").dt.month().is_in([4, 5])))
        assert holdout.equals(expected.filter(pl.col("time").dt.month() == 6))
        assert found.train.end == found.holdout.start == datetime(2013, 6, 1, tzinfo=UTC)
        assert found.columns["late"] == "Boolean"

    def test_is_in_the_ledger_once_for_a_run_that_is_tried_again(self, make_context: Make) -> None:
        found = data.run(make_context("data"))
        assert data.run(make_context("data", try_number=2)) == found
        with make_context("data").open_ledger() as ledger:
            entries = ledger.entries("flights", kinds={views.DATA_VERSION})
        assert [e.body["version"] for e in entries] == [found.version]
        assert entries[0].body["dag_run"] == "scheduled__2013-07-01"
        assert entries[0].as_of == datetime(2013, 7, 1, tzinfo=UTC)

    def test_does_not_depend_on_the_order_or_the_files_of_the_source(
        self, make_context: Make, project: Project, save: Callable[[pl.DataFrame], None]
    ) -> None:
        first = data.run(make_context("data")).version
        save(flights().sample(fraction=1.0, shuffle=True, seed=3))
        assert data.run(make_context("data")).version == first
        parts = project.root / "include" / "parts"
        parts.mkdir()
        for i, part in enumerate(flights().iter_slices(37)):
            part.write_parquet(parts / f"{i}.parquet")
        assert data.run(make_context("data", data={"source": "include/parts"})).version == first

    def test_changes_with_the_rows_and_not_with_rows_outside(
        self, make_context: Make, save: Callable[[pl.DataFrame], None]
    ) -> None:
        first = data.run(make_context("data")).version
        save(flights(210))
        assert data.run(make_context("data")).version == first
        save(flights().with_columns(late=pl.col("late") & (pl.col("id") != 170)))
        again = data.run(make_context("data"))
        assert again.version != first, "a cleared run sees the corrected rows"
        with make_context("data").open_ledger() as ledger:
            assert len(ledger.entries("flights", kinds={views.DATA_VERSION})) == 2

    def test_leaves_no_copy_in_the_runs_folder(self, make_context: Make) -> None:
        ctx = make_context("data")
        data.run(ctx)
        assert not list(ctx.scratch("data").iterdir())

    def test_a_csv_gives_one_too(self, make_context: Make, project: Project) -> None:
        flights().write_csv(project.root / "include" / "rows.csv")
        found = data.run(make_context("data", data={"source": "include/rows.csv"}))
        assert found.train.rows == 61


class TestRefuses:
    def test_an_empty_holdout_naming_what_the_source_has(self, make_context: Make) -> None:
        with pytest.raises(StepError) as error:
            data.run(make_context("data", as_of=datetime(2013, 9, 1, tzinfo=UTC)))
        assert "no holdout rows: " in str(error.value)
        assert "2013-08-01 00:00:00Z <= time < 2013-09-01 00:00:00Z" in str(error.value)
        assert "its first is at 2013-01-01 00:00:00Z, its last at 2013-07-19 00:00:00Z" in str(error.value)

    def test_empty_training_rows(self, make_context: Make) -> None:
        with pytest.raises(StepError, match=r"no training rows: .* its first is at 2013-01-01"):
            data.run(make_context("data", as_of=datetime(2013, 1, 20, tzinfo=UTC)))

    def test_a_window_beside_the_source(self, make_context: Make) -> None:
        with pytest.raises(StepError, match=r"has no rows with .* its last at 2013-07-19"):
            data.run(make_context("data", as_of=datetime(2020, 1, 1, tzinfo=UTC)))

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ({"data": {"source": "include/row.parquet"}}, 'Did you mean "rows.parquet"'),
            ({"data": {"window": {"column": "tiem"}}}, r'no column "tiem" \(did you mean "time"\?\)'),
            ({"data": {"window": {"column": "delay"}}}, 'column "delay" of .* is no time but Float64'),
            ({"data": {"key": ["idd"]}}, r'no column "idd" \(did you mean "id"\?\)'),
            ({"evaluate": {"target": "lat"}}, r'no column "lat" \(did you mean "late"\?\)'),
            ({"evaluate": {"slices": ["carriers"]}}, r'no column "carriers" \(did you mean "carrier"\?\)'),
            ({"monitor": {"drift": {"columns": ["dely"]}}}, r'no column "dely" \(did you mean "delay"\?\)'),
        ],
    )
    def test_what_the_source_lacks(self, make_context: Make, spec: Mapping[str, Any], said: str) -> None:
        with pytest.raises(StepError, match=said):
            data.run(make_context("data", **spec))

    def test_a_key_that_identifies_no_row(self, make_context: Make, save: Callable[[pl.DataFrame], None]) -> None:
        save(pl.concat([flights(), flights()[100:103], flights()[100:101], flights()[:1]]))
        with pytest.raises(StepError) as error:
            data.run(make_context("data"))
        assert (
            "the key (id) does not identify the window's rows: 3 keys occur more than once, in 7 rows; e.g. "
            "id=100 in 3." in str(error.value)
        )
        assert data.run(make_context("data", data={"key": []})).train.rows == 65

    def test_a_key_of_several_columns_is_taken_as_a_whole(
        self, make_context: Make, save: Callable[[pl.DataFrame], None]
    ) -> None:
        save(pl.concat([flights(), flights().with_columns(carrier=pl.lit("DL"))]))
        assert data.run(make_context("data", data={"key": ["id", "carrier"]})).holdout.rows == 60

    def test_rows_without_a_key(self, make_context: Make, save: Callable[[pl.DataFrame], None]) -> None:
        save(flights().with_columns(id=pl.when(pl.col("id") == 120).then(None).otherwise(pl.col("id"))))
        with pytest.raises(StepError, match=r"1 rows of the window have no value in their key \(id\)"):
            data.run(make_context("data"))

    @pytest.mark.parametrize("nothing", [None, float("nan")])
    @pytest.mark.parametrize("part", ["train", "holdout"])
    def test_a_target_without_any_value(
        self, make_context: Make, save: Callable[[pl.DataFrame], None], nothing: float | None, part: str
    ) -> None:
        holdout = pl.col("time") >= date(2013, 6, 1)
        empty = holdout if part == "holdout" else ~holdout
        late = pl.when(empty).then(pl.lit(nothing, dtype=pl.Float64)).otherwise(pl.col("late").cast(pl.Float64))
        save(flights().with_columns(late=late))
        with pytest.raises(StepError, match=f'the target "late" has no value in any of the .. {part} rows'):
            data.run(make_context("data"))

    def test_a_damaged_source(self, make_context: Make, project: Project) -> None:
        path = project.root / "include" / "rows.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(StepError, match=r"rows.parquet cannot be read"):
            data.run(make_context("data"))

    def test_a_full_disk(self, make_context: Make, project: Project, save: Callable[[pl.DataFrame], None]) -> None:
        """The rows do not even reach the store: the run's own folder is on that disk, too."""
        project.state.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", project.state], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"no file system may be mounted here ({mounted.stderr.strip()})")
        try:
            noise = [os.urandom(8192).hex() for _ in range(200)]
            save(flights().with_columns(noise=pl.Series(noise)))
            with pytest.raises(StepError, match=rf"no room to version the data in {project.state}.* bytes free"):
                data.run(make_context("data"))
            subprocess.run(["mount", "-o", "remount,size=64m", project.state], check=True)
            assert data.run(make_context("data")).train.rows == 61
        finally:
            subprocess.run(["umount", project.state], check=True)


class TestSuperseded:
    def ended(self, ctx: StepContext, found: DataVersion, outcome: str = "refused", **over: Any) -> None:
        """An earlier training that came to its end."""
        promotion = Promotion(
            model=ctx.model, version="3", outcome=outcome, reasons=(), champion_before=None,  # type: ignore[arg-type]
            data_version=found.version,
        )  # fmt: skip
        extra = {"code_version": code_version(ctx.project.root)}
        with ctx.open_ledger() as ledger:
            record(ledger, ctx, views.PROMOTION, promotion, key="promotion/3", extra={**extra, **over})

    @pytest.mark.parametrize("outcome", ["promoted", "refused"])
    def test_a_second_training_of_the_same_is_skipped_and_recorded(self, make_context: Make, outcome: str) -> None:
        first = make_context("data", run_id="first")
        self.ended(first, data.run(first), outcome)
        with pytest.raises(
            StepSkipped, match=f"run first trained version 3 on the same data.*it was {outcome}"
        ) as skip:
            data.run(make_context("data", run_id="second"))
        assert isinstance(skip.value.record, Promotion)
        assert (skip.value.record.outcome, skip.value.record.version) == ("superseded", "")
        assert skip.value.record.champion_before == ("3" if outcome == "promoted" else None)
        with first.open_ledger() as ledger:
            last = ledger.entries("flights", kinds={views.PROMOTION})[-1]
        assert (last.body["outcome"], last.body["dag_run"]) == ("superseded", "second")

    def test_a_superseded_run_supersedes_none(self, make_context: Make) -> None:
        first = make_context("data", run_id="first")
        self.ended(first, data.run(first), "superseded")
        assert data.run(make_context("data", run_id="second")).version

    def test_the_run_itself_cleared_is_no_second_training(self, make_context: Make) -> None:
        ctx = make_context("data")
        self.ended(ctx, data.run(ctx))
        assert data.run(ctx).version

    def test_other_time_spec_code_or_rows_is_another_training(
        self, make_context: Make, project: Project, save: Callable[[pl.DataFrame], None]
    ) -> None:
        first = make_context("data", run_id="first")
        self.ended(first, data.run(first))
        assert data.run(make_context("data", run_id="time", as_of=datetime(2013, 6, 1, tzinfo=UTC)))
        assert data.run(make_context("data", run_id="spec", spec_hash="6" * 12))
        save(flights().with_columns(late=~pl.col("late")))
        assert data.run(make_context("data", run_id="rows"))
        save(flights())
        (project.root / "include" / "train.py").write_text("def train(context): ...\n")
        assert data.run(make_context("data", run_id="code"))
