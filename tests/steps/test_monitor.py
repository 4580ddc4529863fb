"""The monitor on real rows, real models in MLflow and a real ledger: which window, which champion, what fires."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.steps.watched import MODEL, copied, day, rows, template
from tidemill.drift.summarise import summarise_table
from tidemill.project import Project
from tidemill.records import AsOf, MonitorReport
from tidemill.steps import monitor
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read
from tidemill.steps.predictions import Logged
from tidemill.steps.window import window_of

__all__ = ["template"]
Make = Callable[..., StepContext]
DRIFT: Mapping[str, Any] = {"distance": "psi", "at_least": 0.2, "share": 0.5}


Watch = Callable[..., MonitorReport]


@pytest.fixture
def watch(make_context: Make, project: Project, template: Path) -> Watch:
    """Judge [`start`, `end`) of a source, with versions promoted at instants: ``watch(rows, {"1": day(3)})``."""

    def judged(
        source: pl.DataFrame | None,
        promotions: Mapping[str, datetime],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        run_id: str = "scheduled__1",
        data: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> MonitorReport:
        start, end = start or day(4), end or day(5)
        copied(template, project.state)
        if source is not None:
            source.write_parquet(project.path("include/rows.parquet"))
        settings = {"drift": DRIFT, "min_rows": 50, **settings}
        ctx = make_context(
            "monitor",
            dag_id="flights.monitor",
            run_id=run_id,
            results={"as_of": AsOf(instant=end, cause="scheduled", interval_start=start, interval_end=end)},
            monitor={k: v for k, v in settings.items() if v is not None},
            **({"data": data} if data else {}),
        )
        with ctx.open_ledger() as ledger:
            for version, as_of in promotions.items():
                body = {"outcome": "promoted", "version": version}
                ledger.append(MODEL, "promotion", body, as_of=as_of, key=f"promotion/{version}")
        report = monitor.run(ctx)
        with ctx.open_ledger() as ledger:
            assert read(ledger.entries(MODEL, kinds={"drift"})[-1], MonitorReport) == report
        return report

    return judged


class TestWindow:
    def test_only_rows_of_the_interval_are_judged(self, watch: Watch) -> None:
        source = pl.concat([rows(day(3), 31, shift=9), rows(day(4), 30), rows(day(5), 31, shift=9)])
        found = watch(source, {"1": day(3)})
        assert (found.start, found.end, found.rows) == (day(4), day(5), 300)
        assert found.fired == ()

    def test_without_an_interval_the_specs_window_before_as_of(self, make_context: Make) -> None:
        ctx = make_context("monitor", as_of=day(5), cause="manual", monitor={"window": "1 month", "drift": DRIFT})
        assert ctx.spec.monitor is not None
        assert window_of(ctx, ctx.spec.monitor) == (day(4), day(5))

    @pytest.mark.parametrize(("as_of", "start"), [(day(5), day(4)), (day(5, 11), day(4, 11))])
    def test_without_either_as_long_as_the_schedules_last_interval(
        self, make_context: Make, as_of: datetime, start: datetime
    ) -> None:
        ctx = make_context("monitor", as_of=as_of, cause="manual", monitor={"schedule": "monthly", "drift": DRIFT})
        assert ctx.spec.monitor is not None
        assert window_of(ctx, ctx.spec.monitor) == (start, as_of)

    def test_no_rows_are_a_report_that_says_so(self, watch: Watch) -> None:
        found = watch(rows(day(1), 30), {"1": day(3)})
        assert (found.version, found.rows, found.columns, found.fired) == ("1", 0, (), ())
        assert "the window has no rows" in found.why[0]

    def test_too_few_rows_are_not_judged(self, watch: Watch) -> None:
        found = watch(rows(day(4), 4, shift=9), {"1": day(3)})
        assert found.fired == ()
        assert found.why == ("the window has 40 rows, min_rows is 50: nothing is judged",)

    def test_a_source_that_is_gone_is_an_error(self, watch: Watch) -> None:
        with pytest.raises(StepError, match=r"rows\.parquet"):
            watch(None, {"1": day(3)})


class TestChampion:
    def test_none_yet_is_recorded_and_judges_nothing(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, shift=9), {})
        assert (found.version, found.rows, found.labelled, found.fired) == (None, 300, 300, ())
        assert "no champion was in force at 2013-04-01" in found.why[0]

    def test_the_one_in_force_at_the_start_of_the_window_is_judged(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30), {"1": day(4), "2": day(4, 2)})
        assert found.version == "1"

    def test_one_promoted_within_the_window_was_not_in_force(self, watch: Watch) -> None:
        assert watch(rows(day(4), 30), {"1": day(4, 2)}).version is None


class TestDrift:
    def test_calm_rows_fire_nothing_and_say_how_far_they_are(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, seed=1), {"1": day(3)})
        assert found.fired == ()
        assert found.share_drifted == 0
        assert found.why == ("0 of 2 columns have drifted (0%; drift is from 50% on)",)

    def test_a_shift_fires_and_names_the_column(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, shift=2, seed=1), {"1": day(3)})
        assert found.fired == ("drift",)
        assert found.why[0].startswith("1 of 2 columns has drifted (50%; drift is from 50% on): wind psi ")

    def test_key_target_and_time_are_not_compared_unless_named(self, watch: Watch) -> None:
        assert [c.name for c in watch(rows(day(4), 30), {"1": day(3)}).columns] == ["wind", "carrier"]
        named = watch(rows(day(4), 30), {"1": day(3)}, drift={**DRIFT, "columns": ["late"]}, run_id="2")
        assert [c.name for c in named.columns] == ["late"]

    def test_a_named_column_that_is_missing_is_an_error(self, watch: Watch) -> None:
        with pytest.raises(StepError, match='Did you mean "wind"'):
            watch(rows(day(4), 30), {"1": day(3)}, drift={**DRIFT, "columns": ["winds"]})

    def test_a_version_without_a_reference_is_an_error_that_names_it(self, watch: Watch, project: Project) -> None:
        watch(rows(day(4), 30), {"1": day(3)})
        shutil.rmtree(project.state / "cache" / "mlflow", ignore_errors=True)
        for path in project.state.rglob("reference.sketch"):
            path.unlink()
        with pytest.raises(StepError, match=r"tidemill/reference\.sketch of version 1"):
            watch(None, {"1": day(3)}, run_id="2")

    def test_a_damaged_reference_is_an_error_that_says_what_to_do(self, watch: Watch, project: Project) -> None:
        watch(rows(day(4), 30), {"1": day(3)})
        for path in project.state.rglob("reference.sketch"):
            path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(StepError, match="train a new version to have a reference again"):
            watch(None, {"1": day(3)}, run_id="2")

    def test_a_missing_column_is_a_severe_finding_and_no_crash(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30).drop("wind"), {"1": day(3)})
        (missing,) = [f for f in found.findings if f.severity == "severe"]
        assert (missing.kind, missing.column) == ("missing_column", "wind")
        assert "wind: missing in the current data" in found.why

    def test_the_target_is_compared_and_counts_for_nothing(self, watch: Watch) -> None:
        late = rows(day(4), 30, seed=1).with_columns(late=pl.lit(1))
        found = watch(late, {"1": day(3)})
        assert [(c.name, c.significant) for c in found.outputs] == [("late", True)]
        assert (found.fired, found.share_drifted) == ((), 0)
        assert found.why[-1].startswith("of what comes out, late (psi ")

    @pytest.mark.parametrize("known", [False, True])
    def test_predictions_of_the_log_are_compared_with_those_of_the_holdout_if_there_are_any(
        self, watch: Watch, project: Project, monkeypatch: pytest.MonkeyPatch, template: Path, known: bool
    ) -> None:
        low = pl.DataFrame({"prediction": [0] * 300, "probability_1": [0.1 + i / 3000 for i in range(300)]})
        logged = Logged(low, "1", [0, 1], {}, 0)
        monkeypatch.setattr("tidemill.steps.performance.logged_in", lambda *_: logged)
        copied(template, project.state)
        for path in project.state.rglob("predictions.sketch"):
            path.unlink()
        if known:
            high = pl.DataFrame({"prediction": [0.5 + i / 3000 for i in range(1000)]})
            for path in list(project.state.rglob("reference.sketch")):
                summarise_table(high).write(path.with_name("predictions.sketch"))
        found = watch(rows(day(4), 30, seed=1), {"1": day(3)})
        assert [c.name for c in found.outputs] == (["late", "prediction"] if known else ["late"])
        assert found.fired == ()

    def test_the_report_is_a_page_and_json_in_the_runs_folder(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, shift=2, seed=1), {"1": day(3)})
        assert found.page is not None
        assert "<svg" in Path(found.page).read_text()
        told = json.loads(Path(found.page).with_name("drift.json").read_text())
        assert (told["drifted"], told["rows"]) == (True, {"reference": 600, "current": 300})

    def test_its_page_says_how_good_the_model_was_beside_the_drift(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, turned=True), {"1": day(3)}, performance={"roc_auc": {"at_least": 0.6}})
        assert found.page is not None
        assert found.performance is not None
        told = Path(found.page).read_text()
        assert told.index("Performance alarm") < told.index("Columns, worst first")
        assert f"{found.performance.metrics['roc_auc']:.4f}" in told

    def test_what_was_not_judged_leaves_no_page(self, watch: Watch) -> None:
        assert watch(rows(day(4), 30), {}).page is None

    def test_the_alarm_waits_for_windows_in_a_row(self, watch: Watch) -> None:
        source = pl.concat([rows(day(4), 30, shift=2, seed=1), rows(day(5), 31, shift=2, seed=2)])
        asked = {**DRIFT, "consecutive": 2}
        first = watch(source, {"1": day(3)}, drift=asked)
        assert (first.drifted, first.fired) == (True, ())
        again = watch(source, {"1": day(3)}, drift=asked, run_id="manual__again")
        assert again.fired == ()  # one window, judged twice, is one window
        second = watch(source, {"1": day(3)}, drift=asked, start=day(5), end=day(6), run_id="scheduled__2")
        assert second.fired == ("drift",)

    def test_no_alarm_while_the_champion_warms_up(self, watch: Watch) -> None:
        source = rows(day(4), 30, shift=2, seed=1)
        early = watch(source, {"1": day(3, 25)}, drift={**DRIFT, "warm_up": "14 d"})
        assert (early.drifted, early.fired) == (True, ())
        assert "within 14 d after the champion's promotion" in early.why[-1]
        late = watch(source, {}, drift={**DRIFT, "warm_up": "7 d"}, run_id="2")
        assert late.fired == ("drift",)


class TestPerformance:
    ASK: Mapping[str, Any] = {"drift": None, "performance": {"roc_auc": {"at_least": 0.8}}}

    def test_a_model_that_holds_fires_nothing(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30), {"1": day(3)}, **self.ASK)
        assert found.fired == ()
        assert found.performance is not None
        assert found.performance.metrics["roc_auc"] == pytest.approx(0.95, abs=0.04)
        assert "at least 0.8 asked for" in found.why[0]

    def test_a_model_that_fails_fires_with_its_numbers(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30, turned=True), {"1": day(3)}, **self.ASK)
        assert found.fired == ("performance",)
        assert "below the 0.8 asked for" in found.why[0]

    def test_an_upper_bound_fires_above_it_and_other_metrics_than_evaluates_are_computed(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30), {"2": day(3)}, drift=None, performance={"log_loss": {"at_most": 0.6}})
        assert found.fired == ("performance",)
        assert found.performance is not None
        assert found.performance.metrics.keys() == {"roc_auc", "log_loss"}

    def test_rows_without_a_target_are_left_out(self, watch: Watch) -> None:
        source = rows(day(4), 30)
        late = pl.when(pl.int_range(pl.len()) < 100).then(pl.col("late"))
        found = watch(source.with_columns(late=late), {"1": day(3)}, **self.ASK)
        assert (found.rows, found.labelled) == (300, 100)
        assert found.performance is not None

    def test_too_few_targets_are_not_judged(self, watch: Watch) -> None:
        source = rows(day(4), 30).with_columns(late=pl.when(pl.int_range(pl.len()) < 9).then(pl.lit(float("nan"))))
        found = watch(source, {"1": day(3)}, **self.ASK)
        assert (found.labelled, found.performance, found.fired) == (0, None, ())
        assert found.why == ("performance is not judged: 0 of 300 rows have a target, min_rows is 50",)

    def test_a_source_without_the_target_has_no_labels_but_drift_is_judged(self, watch: Watch) -> None:
        found = watch(
            rows(day(4), 30, shift=3).drop("late"),
            {"1": day(3)},
            drift=DRIFT,
            performance={"roc_auc": {"at_least": 0.8}},
        )
        assert found.labelled == 0
        assert found.fired == ("drift",)

    def test_one_class_is_not_judged(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30).with_columns(late=pl.lit(1)), {"1": day(3)}, **self.ASK)
        assert found.fired == ()
        assert found.why == ("roc_auc is not judged on the 300 rows that have a target: one class",)

    def test_a_column_that_the_model_needs_is_said_to_be_missing(self, watch: Watch) -> None:
        with pytest.raises(StepError, match="version 1 of flights"):
            watch(rows(day(4), 30).drop("wind"), {"1": day(3)}, **self.ASK)

    def test_drift_and_performance_fire_together(self, watch: Watch) -> None:
        source = rows(day(4), 30, shift=2, turned=True)
        found = watch(source, {"1": day(3)}, performance={"roc_auc": {"at_least": 0.8}})
        assert found.fired == ("drift", "performance")


class TestPrevious:
    def test_the_champion_before_is_scored_on_the_same_rows(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30), {"2": day(2), "1": day(3)}, drift=None, compare_previous=True)
        assert found.performance is not None
        assert found.previous is not None
        assert (found.performance.version, found.previous.version) == ("1", "2")
        now, before = found.performance.metrics["roc_auc"], found.previous.metrics["roc_auc"]
        assert now is not None
        assert before == pytest.approx(1 - now, abs=0.01)

    def test_the_first_champion_has_none(self, watch: Watch) -> None:
        assert watch(rows(day(4), 30), {"1": day(3)}, drift=None, compare_previous=True).previous is None

    def test_one_that_is_gone_is_said_and_fails_nothing(self, watch: Watch) -> None:
        found = watch(rows(day(4), 30), {"9": day(2), "1": day(3)}, drift=None, compare_previous=True)
        assert found.performance is not None
        assert found.previous is None
        assert "the previous champion, version 9, could not be scored" in found.why[-1]


def test_the_report_is_a_file_that_says_the_same(watch: Watch) -> None:
    found = watch(rows(day(4), 30), {"1": day(3)})
    assert found.path is not None
    assert MonitorReport.from_json(json.loads(Path(found.path).read_text())) == found


def test_a_retry_records_the_same_report_once(watch: Watch, make_context: Make) -> None:
    watch(rows(day(4), 30), {"1": day(3)})
    watch(None, {"1": day(3)})
    ctx = make_context("monitor")
    with ctx.open_ledger() as ledger:
        assert len(ledger.entries(MODEL, kinds={"drift"})) == 1
