"""Performance by late labels and by the log of predictions: which rows, whose predictions, and when an alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.steps.watched import MODEL, copied, day, rows, template
from tidemill.project import Project
from tidemill.records import AsOf, MonitorReport
from tidemill.steps import monitor, score
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read
from tidemill.steps.predictions import Log, written

__all__ = ["template"]
Make = Callable[..., StepContext]
ASK: Mapping[str, Any] = {"performance": {"roc_auc": {"at_least": 0.8}}}
LATE: Mapping[str, Any] = {"labels": {"source": "include/labels.parquet", "delay": "7 d"}}


class Worlds:
    """A project whose champion is watched, run by run."""

    def __init__(self, make: Make, project: Project, template: Path) -> None:
        self.make, self.project = make, project
        copied(template, project.state)

    def rows(self, table: pl.DataFrame) -> None:
        table.write_parquet(self.project.path("include/rows.parquet"))

    def labels(self, table: pl.DataFrame) -> None:
        table.write_parquet(self.project.path("include/labels.parquet"))

    def promote(self, version: str, as_of: datetime) -> None:
        with self.make("x").open_ledger() as ledger:
            ledger.append(MODEL, "promotion", {"outcome": "promoted", "version": version}, as_of=as_of)

    def _context(self, step: str, start: datetime, end: datetime, run_id: str, **spec: Any) -> StepContext:
        instant = AsOf(instant=end, cause="scheduled", interval_start=start, interval_end=end)
        return self.make(step, dag_id=f"flights.{step}", run_id=run_id, results={"as_of": instant}, **spec)

    def score(self, start: datetime, end: datetime, **spec: Any) -> Any:
        spec = {"score": {"schedule": "monthly"}, **spec}
        return score.run(self._context("score", start, end, f"s{end}", **spec))

    def watch(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        run_id: str = "scheduled__1",
        data: Any = None,
        logged: Any = False,
        evaluate: Any = None,
        **settings: Any,
    ) -> MonitorReport:
        given = {"data": data, "evaluate": evaluate, "score": {"schedule": "monthly"} if logged is True else logged}
        more = {name: value for name, value in given.items() if value}
        settings = {"min_rows": 50, **settings}
        ctx = self._context("monitor", start or day(4), end or day(5), run_id, monitor=settings, **more)
        report = monitor.run(ctx)
        with ctx.open_ledger() as ledger:
            assert read(ledger.entries(MODEL, kinds={"drift"})[-1], MonitorReport) == report
        return report


@pytest.fixture
def world(make_context: Make, project: Project, template: Path) -> Worlds:
    return Worlds(make_context, project, template)


def labels_of(table: pl.DataFrame) -> pl.DataFrame:
    return table.select("id", "late")


def two_months(*, seed: int = 0, turned: bool = False) -> pl.DataFrame:
    """March and April, with keys of their own."""
    march, april = rows(day(3), 31, seed=seed, turned=turned), rows(day(4), 30, seed=seed + 1, turned=turned)
    return pl.concat([march, april.with_columns(pl.col("id") + 10_000)])


class TestInterval:
    def test_an_alarm_needs_the_whole_interval_beyond_the_bound(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        value = world.watch(performance={"roc_auc": {"at_least": 0.5}}).performance
        assert value is not None
        (interval,) = value.intervals
        assert (interval.metric, interval.confidence, interval.method) == ("roc_auc", 0.95, "delong")
        now = value.metrics["roc_auc"]
        assert now is not None
        assert interval.low < now < interval.high
        perhaps = world.watch(performance={"roc_auc": {"at_least": (now + interval.high) / 2}}, run_id="2")
        assert perhaps.fired == ()
        assert "which may be chance: no alarm" in perhaps.why[0]
        beyond = world.watch(performance={"roc_auc": {"at_least": interval.high + 1e-6}}, run_id="3")
        assert beyond.fired == ("performance",)
        assert beyond.why[0].startswith(f"roc_auc is {now:.6g} (95% interval ")

    def test_a_lower_level_is_sooner_sure(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        wide = world.watch(performance={"accuracy": {"at_least": 0.5, "confidence": 0.999}})
        narrow = world.watch(performance={"accuracy": {"at_least": 0.5, "confidence": "50%"}}, run_id="2")
        assert wide.performance is not None
        assert narrow.performance is not None
        ends = [{i.metric: i for i in p.intervals}["accuracy"] for p in (wide.performance, narrow.performance)]
        assert ends[0].low < ends[1].low < ends[1].high < ends[0].high
        bound = (ends[1].high + ends[0].high) / 2
        asked = {"accuracy": {"at_least": bound, "confidence": 0.5}}
        assert world.watch(performance=asked, run_id="3").fired == ("performance",)
        asked["accuracy"]["confidence"] = 0.999
        assert world.watch(performance=asked, run_id="4").fired == ()

    def test_an_upper_bound(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        assert world.watch(performance={"log_loss": {"at_most": 0.01}}).fired == ("performance",)

    def test_a_version_that_was_replaced_meanwhile_gives_no_alarm(self, world: Worlds) -> None:
        world.promote("2", day(3))
        world.rows(rows(day(4), 30))
        assert world.watch(**ASK).fired == ("performance",)
        world.promote("1", day(4, 20))
        found = world.watch(**ASK, run_id="2")
        assert found.performance is not None
        assert (found.performance.version, found.fired) == ("2", ())
        assert "no alarm, as version 1 has replaced it" in found.why[0]

    def test_a_promotion_at_the_very_end_comes_after_the_monitor(self, world: Worlds) -> None:
        world.promote("2", day(3))
        world.promote("1", day(5))
        world.rows(rows(day(4), 30))
        assert world.watch(**ASK).fired == ("performance",)

    def test_one_row_is_judged_and_gives_no_alarm(self, world: Worlds) -> None:
        world.promote("2", day(3))
        world.rows(rows(day(4), 30).head(1))
        asked = {"roc_auc": {"at_least": 1}, "accuracy": {"at_least": 0.7}, "log_loss": {"at_most": 0}}
        found = world.watch(min_rows=1, performance=asked)
        assert found.performance is not None
        assert (found.performance.rows, found.fired) == (1, ())
        assert found.performance.metrics["log_loss"] is not None
        assert {interval.metric for interval in found.performance.intervals} == {"accuracy"}

    def test_two_runs_for_one_window_say_the_same(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        asked = {"performance": {"f1": {"at_least": 0.1}, "average_precision": {"at_least": 0.1}}}
        first, second = world.watch(**asked), world.watch(**asked, run_id="2")
        assert first.performance == second.performance
        assert first.why == second.why


class TestLateLabels:
    def test_the_judged_window_is_the_monitors_moved_back_by_the_delay(self, world: Worlds) -> None:
        source = two_months()
        world.promote("1", day(2))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(**ASK, **LATE)
        assert found.performance is not None
        assert found.labels is not None
        start, end = day(4) - timedelta(days=7), day(5) - timedelta(days=7)
        assert (found.performance.start, found.performance.end) == (start, end)
        assert (found.labels.start, found.labels.end) == (start, end)
        assert (found.labels.rows, found.labels.labelled, found.labelled) == (300, 300, 300)
        assert found.performance.metrics["roc_auc"] == pytest.approx(0.95, abs=0.04)
        assert found.why[0] == (
            "performance from 2013-03-25 to 2013-04-24 (labels take 7 d): 300 of 300 rows are labelled (100%)"
        )

    def test_windows_that_follow_each_other_judge_each_row_once(self, world: Worlds) -> None:
        source = two_months()
        world.promote("1", day(2))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        first, second = world.watch(day(3), day(4), **ASK, **LATE), world.watch(**ASK, **LATE, run_id="2")
        assert first.labels is not None
        assert second.labels is not None
        assert first.labels.end == second.labels.start

    def test_without_a_delay_it_is_the_monitors_own_window(self, world: Worlds) -> None:
        source = rows(day(4), 30)
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert found.performance is not None
        assert (found.performance.start, found.performance.end, found.labelled) == (day(4), day(5), 300)

    def test_the_share_that_has_come_is_told_and_the_rest_waits(self, world: Worlds) -> None:
        source = rows(day(4), 30)
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        world.labels(labels_of(source).head(100))
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert found.labels is not None
        assert (found.labels.rows, found.labels.labelled) == (300, 100)
        assert "100 of 300 rows are labelled (33%)" in found.why[0]

    def test_no_labels_yet_judge_nothing(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        world.labels(labels_of(rows(day(4), 30)).head(0))
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert (found.performance, found.fired) == (None, ())
        assert found.why[-1] == "performance is not judged: 0 of 300 rows have a target, min_rows is 50"

    def test_the_labels_count_and_not_a_target_that_the_rows_happen_to_have(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        world.labels(labels_of(rows(day(4), 30, turned=True)))
        assert world.watch(**ASK, labels={"source": "include/labels.parquet"}).fired == ("performance",)

    def test_labels_that_agree_are_one_and_those_that_contradict_are_none(self, world: Worlds) -> None:
        source = rows(day(4), 30)
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        known = labels_of(source)
        odd = known.head(3).with_columns(late=1 - pl.col("late"))
        strangers = known.head(5).with_columns(pl.col("id") + 99_999)
        world.labels(pl.concat([known, known.tail(40), odd, strangers]).sample(fraction=1, shuffle=True, seed=1))
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert found.labels is not None
        assert (found.labels.labelled, found.labels.repeated, found.labels.contradicting) == (297, 40, 3)
        (finding,) = found.findings
        assert (finding.kind, finding.column, finding.severity) == ("contradicting_labels", "late", "warning")
        assert finding.detail.startswith("3 keys have labels in include/labels.parquet that contradict each other")
        assert any(finding.detail in why for why in found.why)

    def test_rows_with_a_key_of_several_are_left_out(self, world: Worlds) -> None:
        source = rows(day(4), 30).with_columns(pl.col("id") // pl.when(pl.col("id") < 10).then(2).otherwise(1))
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        world.labels(labels_of(rows(day(4), 30)))
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert found.labels is not None
        assert (found.labels.rows, found.labels.labelled, found.labels.ambiguous) == (300, 290, 10)
        assert [f.kind for f in found.findings] == ["duplicate_keys"]

    def test_one_label_for_several_rows_by_a_key_of_its_own(self, world: Worlds) -> None:
        source = rows(day(4), 30).with_columns(day=pl.col("time").dt.date())
        labels = source.select("day").unique().with_columns(late=pl.lit(1).cast(pl.Int64))
        labels = labels.with_columns(late=pl.int_range(pl.len()) % 2)
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        world.labels(labels)
        found = world.watch(**ASK, labels={"source": "include/labels.parquet", "key": ["day"]})
        assert found.labels is not None
        assert (found.labels.labelled, found.labels.ambiguous) == (300, 0)

    def test_a_key_of_another_type_is_an_error(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        world.labels(labels_of(rows(day(4), 30)).with_columns(pl.col("id").cast(pl.String)))
        with pytest.raises(StepError, match=r'the key "id" is String in .*labels\.parquet and Int64'):
            world.watch(**ASK, labels={"source": "include/labels.parquet"})

    def test_a_narrower_integer_is_none(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        world.labels(labels_of(rows(day(4), 30)).with_columns(pl.col("id").cast(pl.Int16)))
        assert world.watch(**ASK, labels={"source": "include/labels.parquet"}).labelled == 300

    def test_labels_without_the_target_name_it(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        world.labels(labels_of(rows(day(4), 30)).rename({"late": "delayed"}))
        with pytest.raises(StepError, match=r'labels\.parquet has no column "late"'):
            world.watch(**ASK, labels={"source": "include/labels.parquet"})

    def test_labels_of_another_kind_judge_nothing_and_say_so(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        texts = labels_of(rows(day(4), 30)).with_columns(pl.col("late").replace_strict({0: "no", 1: "yes"}))
        world.labels(texts)
        found = world.watch(**ASK, labels={"source": "include/labels.parquet"})
        assert found.fired == ()
        assert "does not know the class 'no'" in found.why[-1]

    def test_the_champion_in_force_at_the_start_of_the_judged_window_is_judged(self, world: Worlds) -> None:
        """The one at the start of the monitor's own window may have learned from the rows that are judged now."""
        source = two_months()
        world.promote("2", day(2))
        world.promote("1", day(4))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(**ASK, **LATE)
        assert found.performance is not None
        assert (found.version, found.performance.version) == ("1", "2")
        assert found.fired == ()  # it is bad, and gone
        assert "no alarm, as version 1 has replaced it" in found.why[-1]

    def test_before_the_first_champion_there_is_nothing_to_judge(self, world: Worlds) -> None:
        source = two_months()
        world.promote("1", day(4))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(**ASK, **LATE)
        assert (found.version, found.performance) == ("1", None)
        assert "no champion was in force at 2013-03-25" in found.why[-1]

    def test_a_quiet_month_does_not_keep_the_labels_of_the_one_before_from_being_judged(self, world: Worlds) -> None:
        source = rows(day(3), 31)
        world.promote("1", day(2))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(day(4), day(5), **ASK, labels={"source": "include/labels.parquet", "delay": "30 d"})
        assert found.rows == 0
        assert found.performance is not None

    def test_the_previous_champion_is_scored_on_the_same_rows(self, world: Worlds) -> None:
        source = two_months()
        world.promote("2", day(1))
        world.promote("1", day(2))
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        found = world.watch(compare_previous=True, **LATE)
        assert found.performance is not None
        assert found.previous is not None
        assert (found.previous.version, found.previous.rows) == ("2", 300)
        now, before = found.performance.metrics["roc_auc"], found.previous.metrics["roc_auc"]
        assert now is not None
        assert before == pytest.approx(1 - now, abs=0.02)


class TestLog:
    def test_what_was_predicted_is_judged_and_never_computed_anew(
        self, world: Worlds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = rows(day(4), 30)
        world.rows(source)
        world.promote("1", day(3))
        computed = world.watch(**ASK)
        world.score(day(4), day(5))
        from tidemill.tools.mlflow import Mlflow

        monkeypatch.setattr(Mlflow, "load", lambda *a: pytest.fail("a model was loaded"))
        found = world.watch(**ASK, logged=True, run_id="2")
        assert found.performance is not None
        assert computed.performance is not None
        assert (found.performance.predictions, computed.performance.predictions) == ("logged", "computed")
        assert found.performance.metrics == pytest.approx(computed.performance.metrics)
        assert found.performance.intervals[0].low == pytest.approx(computed.performance.intervals[0].low)
        assert "predictions of version 1 from the log" in found.why[0]

    def test_its_version_decides_and_not_the_champion_by_the_ledger(self, world: Worlds) -> None:
        world.rows(rows(day(4), 30))
        world.promote("2", day(3))
        world.score(day(4), day(5))
        world.promote("1", day(3, 2))  # a backfill: it was in force when the window began, and had not scored it
        found = world.watch(**ASK, logged=True)
        assert found.performance is not None
        assert (found.version, found.performance.version) == ("1", "2")

    def test_of_several_versions_the_one_that_scored_the_last_rows_is_judged(self, world: Worlds) -> None:
        world.rows(rows(day(4), 30))
        world.promote("2", day(3))
        world.score(day(4), day(4, 11))
        world.promote("1", day(4, 15))
        world.score(day(4, 11), day(5))
        found = world.watch(**ASK, logged=True)
        assert found.performance is not None
        assert (found.performance.version, found.performance.rows, dict(found.performance.others)) == (
            "1", 200, {"2": 100},
        )  # fmt: skip
        assert "left out are rows that other versions scored: 100 of version 2" in found.why[0]
        assert found.fired == ()

    def test_of_several_predictions_for_a_row_the_earliest_counts(self, world: Worlds) -> None:
        """A later one may come of a model that has learned from the row."""
        world.rows(rows(day(4), 30))
        world.promote("2", day(3))
        world.score(day(4), day(4, 21))
        world.promote("1", day(4, 21))
        world.score(day(4), day(5))
        found = world.watch(day(4), day(4, 21), **ASK, logged=True)
        later = world.watch(**ASK, logged=True, run_id="2")
        assert found.performance is not None
        assert later.performance is not None
        assert (found.performance.version, found.performance.rows) == ("2", 200)
        assert (later.performance.version, later.performance.rows) == ("1", 100)

    def test_predictions_of_later_runs_are_not_known_yet(self, world: Worlds) -> None:
        """A monitor that runs again for an earlier instant sees what it saw."""
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        world.score(day(4), day(6))
        found = world.watch(**ASK, logged=True)
        assert found.performance is not None
        assert found.performance.predictions == "computed"

    def test_late_labels_join_predictions_of_several_runs(self, world: Worlds) -> None:
        source = two_months()
        world.rows(source.drop("late"))
        world.labels(labels_of(source))
        world.promote("1", day(2))
        world.score(day(3), day(4))
        world.score(day(4), day(5))
        found = world.watch(**ASK, **LATE, logged=True)
        assert found.labels is not None
        assert (found.labels.rows, found.labels.labelled) == (300, 300)
        assert found.performance is not None
        assert found.performance.predictions == "logged"

    def test_the_scored_source_may_be_another_than_that_with_the_target(self, world: Worlds, project: Project) -> None:
        source = rows(day(4), 30)
        world.rows(source)
        source.drop("late").write_parquet(project.path("include/new.parquet"))
        section = {"schedule": "monthly", "source": "include/new.parquet"}
        world.promote("1", day(3))
        world.score(day(4), day(5), score=section)
        found = world.watch(**ASK, logged=section)
        assert found.performance is not None
        assert found.performance.rows == 300

    def test_a_target_that_is_missing_is_no_label(self, world: Worlds) -> None:
        world.rows(rows(day(4), 30).with_columns(late=pl.when(pl.int_range(pl.len()) < 120).then(pl.col("late"))))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        found = world.watch(**ASK, logged=True)
        assert found.labels is not None
        assert (found.labels.rows, found.labels.labelled) == (300, 120)

    def test_a_source_without_the_target_has_no_labels_yet(self, world: Worlds) -> None:
        world.rows(rows(day(4), 30).drop("late"))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        found = world.watch(**ASK, logged=True)
        assert found.performance is None
        assert found.why[-1] == "performance is not judged: 0 of 300 rows have a target, min_rows is 50"

    def test_duplicate_keys_in_the_log_are_left_out(self, world: Worlds) -> None:
        source = rows(day(4), 30)
        world.rows(pl.concat([source, source.head(5)]))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        found = world.watch(**ASK, logged=True)
        assert found.labels is not None
        assert (found.labels.rows, found.labels.labelled, found.labels.ambiguous) == (305, 295, 10)

    def test_scores_that_are_no_numbers_are_said(self, world: Worlds, project: Project) -> None:
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        spoil(project, probability_1=pl.when(pl.int_range(pl.len()) < 2).then(float("nan")).otherwise(0.5))
        found = world.watch(**ASK, logged=True)
        assert found.fired == ()
        assert "the model gave NaN or infinity for 2 of 300 rows" in found.why[-1]

    def test_a_log_that_is_not_whole_is_an_error_that_says_what_to_do(self, world: Worlds, project: Project) -> None:
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        made = world.score(day(4), day(5), score={"schedule": "monthly", "rows": 100})
        (Path(made.path) / "part-00001.parquet").unlink()
        with pytest.raises(StepError, match=r"is not whole .*: remove it and run the score for that as_of again"):
            world.watch(**ASK, logged=True)

    def test_a_damaged_file_is_an_error_that_names_it(self, world: Worlds, project: Project) -> None:
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        made = world.score(day(4), day(5))
        (Path(made.path) / "part-00000.parquet").write_bytes(b"PAR1 nothing")
        with pytest.raises(StepError, match=r"part-00000\.parquet is no whole file of a prediction log"):
            world.watch(**ASK, logged=True)

    def test_a_model_of_labels_has_no_area(self, world: Worlds, project: Project) -> None:
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        spoil(project, drop=["probability_0", "probability_1"])
        with pytest.raises(StepError, match="the log of version 1 has labels only"):
            world.watch(**ASK, logged=True)
        only = world.watch(performance={"accuracy": {"at_least": 0.5}}, logged=True, evaluate={"metrics": ["f1"]})
        assert only.performance is not None
        assert only.performance.metrics.keys() == {"f1", "accuracy"}

    def test_the_previous_champion_is_scored_on_the_rows_of_the_log(self, world: Worlds) -> None:
        source = rows(day(4), 30)
        world.rows(source)
        world.promote("2", day(2))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        found = world.watch(compare_previous=True, logged=True)
        assert found.performance is not None
        assert found.previous is not None
        assert (found.previous.version, found.previous.rows, found.previous.predictions) == ("2", 300, "computed")
        now, before = found.performance.metrics["roc_auc"], found.previous.metrics["roc_auc"]
        assert now is not None
        assert before == pytest.approx(1 - now, abs=0.02)

    def test_the_previous_champion_is_that_before_the_judged_one_though_it_came_within_the_window(
        self, world: Worlds
    ) -> None:
        source = two_months()
        world.rows(source)
        world.labels(labels_of(source))
        world.promote("2", day(2))
        world.promote("1", day(4))
        world.score(day(4), day(5))  # by version 1; the judged window begins a week before that came into force
        found = world.watch(compare_previous=True, logged=True, **LATE)
        assert found.performance is not None
        assert found.previous is not None
        assert (found.performance.version, found.previous.version) == ("1", "2")
        assert found.previous.rows == found.performance.rows == 230

    def test_that_of_another_model_of_the_pipeline_is_not_read(self, world: Worlds, project: Project) -> None:
        world.rows(rows(day(4), 30))
        world.promote("1", day(3))
        world.score(day(4), day(5))
        log = Log(project.state / "predictions" / "flights", "flights", "another")
        assert log.read("time", day(4), day(5), until=day(5), key=["id"]) is None


def spoil(project: Project, drop: list[str] | None = None, **columns: pl.Expr) -> None:
    """Change the log's file, and keep what its metadata say."""
    import pyarrow.parquet as pq

    file = project.state / "predictions" / "flights" / f"as_of={written(day(5))}" / "part-00000.parquet"
    table = pq.read_table(file)
    frame = pl.DataFrame(table).with_columns(**columns).drop(drop or [])
    changed = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), file)


def test_a_regression_is_judged_by_its_log(world: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.steps.test_score import use

    world.rows(rows(day(4), 30).with_columns(late=pl.col("wind") * 3 + 0.1))
    world.promote("1", day(3))
    use(monkeypatch, lambda frame: np.asarray(frame["wind"] * 3))
    task = {"task": "regression", "metrics": ["mae"]}
    world.score(day(4), day(5), evaluate=task)
    found = world.watch(performance={"rmse": {"at_most": 0.05}}, evaluate=task, logged=True)
    assert found.performance is not None
    assert found.performance.metrics == pytest.approx({"mae": 0.1, "rmse": 0.1})
    assert found.fired == ("performance",)
