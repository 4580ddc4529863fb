"""Estimates without labels: within their stated error where the scores mean what they meant, and wrong where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.steps.test_performance import Worlds, world
from tests.steps.watched import MODEL, day, rows, template
from tidemill.project import Project
from tidemill.records import Interval
from tidemill.spec.metrics import METRICS
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.estimate import Calibration, estimated
from tidemill.steps.scoring import Classified, metric_of
from tidemill.tools.mlflow import open_mlflow

__all__ = ["template", "world"]
NAMES = [name for name, info in METRICS.items() if info.task == "classification"]


def made(seed: int, n: int, *, shift: float = 0.0, turn: float = 0.0) -> tuple[Any, Any]:
    """Classes and the scores of a model that is too sure of itself. ``shift`` moves the rows; ``turn`` changes what
    they mean."""
    random = np.random.default_rng(seed)
    x = random.normal(size=n) + shift
    truth = (random.random(n) < 1 / (1 + np.exp(0.5 - (1.5 - turn) * x))).astype(int)
    score = 1 / (1 + np.exp(-2.5 * x))
    return truth, np.stack([1 - score, score], axis=1)


def three(seed: int, n: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 3))
    chances = np.exp(x)
    chances /= chances.sum(axis=1, keepdims=True)
    truth = (random.random(n)[:, None] > chances.cumsum(axis=1)[:, :2]).sum(axis=1)
    sure = np.exp(2 * x)
    return truth, sure / sure.sum(axis=1, keepdims=True)


def learned(truth: Any, proba: Any) -> Calibration:
    found = Calibration.learn(Classified(list(range(proba.shape[1])), truth, proba, None, None))
    assert found is not None
    return found


def true(metric: str, truth: Any, proba: Any) -> float:
    value = metric_of(metric, truth, proba if METRICS[metric].probabilities else proba.argmax(axis=1), proba.shape[1])
    assert value is not None
    return value


def of(calibration: Calibration, proba: Any, names: list[str] = NAMES) -> tuple[Any, dict[str, Interval]]:
    found = estimated(names, proba, proba.argmax(axis=1), calibration)
    assert not isinstance(found, str)
    return found[0], {interval.metric: interval for interval in found[1]}


class TestTruth:
    @pytest.mark.parametrize("holdout", [300, 4000])
    @pytest.mark.parametrize("shift", [0.0, 0.7])
    def test_the_true_metrics_lie_within_the_stated_error_also_when_the_rows_shift(
        self, holdout: int, shift: float
    ) -> None:
        calibration = learned(*made(1, holdout))
        assert calibration.method == ("isotonic" if holdout == 4000 else "sigmoid")
        inside = []
        for seed in range(3):
            truth, proba = made(10 + seed, 1500, shift=shift)
            _, ends = of(calibration, proba)
            inside += [ends[name].low <= true(name, truth, proba) <= ends[name].high for name in NAMES]
        assert sum(inside) >= len(inside) - 3  # of 24 at 95%, and they hang together

    def test_of_three_classes(self) -> None:
        truth, proba = three(2, 2000)
        _, ends = of(learned(*three(1, 4000)), proba)
        assert sum(ends[name].low <= true(name, truth, proba) <= ends[name].high for name in NAMES) >= len(NAMES) - 1

    def test_when_what_the_rows_mean_changes_it_is_wrong(self) -> None:
        """No method without labels can know that; docs/scoring.md says so."""
        truth, proba = made(3, 4000, turn=3.0)
        values, ends = of(learned(*made(1, 4000)), proba, ["roc_auc", "accuracy"])
        for name in ("roc_auc", "accuracy"):
            assert true(name, truth, proba) < 0.5 < ends[name].low < values[name]

    def test_scores_that_are_not_calibrated_are_put_right(self) -> None:
        """Taken at their word they would promise more than is true."""
        truth, proba = made(2, 4000)
        calibration = learned(*made(1, 4000))
        said = float(proba.max(axis=1).mean())
        value = of(calibration, proba, ["accuracy"])[0]["accuracy"]
        assert abs(value - true("accuracy", truth, proba)) < 0.03 < said - true("accuracy", truth, proba)

    def test_the_smaller_the_window_and_the_holdout_the_larger_the_error(self) -> None:
        proba = made(2, 2000)[1]

        def width(holdout: int, rows: int) -> float:
            interval = of(learned(*made(1, holdout)), proba[:rows], ["accuracy"])[1]["accuracy"]
            return interval.high - interval.low

        assert width(400, 2000) > width(4000, 2000)
        assert width(4000, 100) > width(4000, 2000)


class TestCalibration:
    def test_it_is_the_same_after_a_file(self, tmp_path: Path) -> None:
        calibration = learned(*made(1, 2000))
        calibration.write(tmp_path / "c.json")
        again = Calibration.read(tmp_path / "c.json")
        proba = made(2, 500)[1]
        assert again.classes == [0, 1]
        assert np.allclose(again.apply(proba), calibration.apply(proba), atol=1e-5)
        assert (tmp_path / "c.json").stat().st_size < 200_000

    @pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', "[]", '{"format": 1, "knots": 5, "curves": 5}'])
    def test_what_is_none_is_told(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(StepError, match=r"the calibration .*c\.json cannot be read"):
            Calibration.read(tmp_path / "c.json")

    def test_scores_that_are_no_numbers_teach_nothing(self) -> None:
        truth, proba = made(1, 2000)
        spoiled = proba.copy()
        spoiled[:500] = np.nan
        assert np.allclose(learned(truth, spoiled).apply(proba), learned(truth[500:], proba[500:]).apply(proba))
        assert Calibration.learn(Classified([0, 1], truth[:500], spoiled[:500], None, None)) is None

    def test_a_holdout_of_one_class_and_scores_of_one_value_are_borne(self) -> None:
        truth, proba = np.zeros(100, dtype=int), np.tile([0.7, 0.3], (100, 1))
        weights = learned(truth, proba).apply(proba)
        assert weights[0] == pytest.approx([1, 0], abs=0.05)
        assert of(learned(truth, proba), proba, ["accuracy"])[0]["accuracy"] == pytest.approx(1, abs=0.05)

    def test_scores_of_the_window_that_are_no_numbers_are_said(self) -> None:
        truth, proba = made(1, 500)
        spoiled = proba.copy()
        spoiled[:2] = np.nan
        found = estimated(NAMES, spoiled, proba.argmax(axis=1), learned(truth, proba))
        assert found == "the model gave NaN or infinity for 2 of 500 rows"

    def test_one_row_has_an_estimate_that_says_how_little_it_knows(self) -> None:
        values, ends = of(learned(*made(1, 4000)), np.array([[0.4, 0.6]]), ["accuracy", "roc_auc"])
        assert values["accuracy"] is not None
        assert "roc_auc" not in ends


def calibrate(ctx: StepContext, project: Project, version: str = "1") -> None:
    """Put the calibration of a version of the template's where its evaluation would."""
    mlflow = open_mlflow(ctx.connections, project)
    holdout = rows(day(2), 110, seed=7)
    proba = mlflow.load(MODEL, version).probabilities(holdout.drop("late").to_pandas(), [0, 1])
    with mlflow.calls("reading", version) as client:
        run_id = str(client.get_model_version(MODEL, version).run_id)
    found = Calibration.learn(Classified([0, 1], holdout["late"].to_numpy(), proba, None, None))
    assert found is not None
    # Not by MLflow's client, which in one process keeps the address of a run's artifacts from before the copy.
    found.write(next(project.state.rglob(f"{run_id}/artifacts/tidemill")) / "calibration.json")


class TestMonitor:
    ASK: dict[str, Any] = {"performance": {"roc_auc": {"at_least": 0.99}}, "estimate": True}  # noqa: RUF012

    def test_while_labels_are_missing_the_window_is_estimated_without_an_alarm(
        self, world: Worlds, project: Project
    ) -> None:
        source = rows(day(4), 30)
        calibrate(world.make("x"), project)
        world.promote("1", day(3))
        world.rows(source.drop("late"))
        found = world.watch(**self.ASK)
        assert found.estimate is not None
        assert (found.performance, found.fired) == (None, ())
        assert (found.estimate.version, found.estimate.rows, found.estimate.calibration) == ("1", 300, "isotonic")
        assert (found.estimate.start, found.estimate.end) == (day(4), day(5))
        (interval,) = found.estimate.intervals
        world.rows(source)
        measured = world.watch(**self.ASK, run_id="2")
        assert measured.performance is not None
        now = measured.performance.metrics["roc_auc"]
        assert now is not None
        assert interval.low < now < interval.high
        assert found.why[-1].startswith("estimated without labels for 2013-04-01 to 2013-05-01, version 1, if scores ")
        assert found.why[-1].endswith("an estimate gives no alarm")
        assert measured.estimate is None  # where it is known it need not be guessed

    def test_with_late_labels_one_window_is_measured_and_the_next_estimated(
        self, world: Worlds, project: Project
    ) -> None:
        source = pl.concat([rows(day(3), 31), rows(day(4), 30, seed=1).with_columns(pl.col("id") + 10_000)])
        calibrate(world.make("x"), project)
        world.promote("1", day(2))
        world.rows(source.drop("late"))
        world.labels(source.select("id", "late"))
        found = world.watch(**self.ASK, labels={"source": "include/labels.parquet", "delay": "7 d"})
        assert found.performance is not None
        assert found.estimate is not None
        assert found.performance.end is not None
        assert found.performance.end < found.estimate.end == day(5)
        assert found.page is not None  # drift was not asked for, and there is a page all the same
        told = Path(found.page).read_text()
        assert told.index("Performance alarm") < told.index(">estimate<")
        assert f"{found.estimate.metrics['roc_auc']:.4f}" in told

    def test_the_log_is_what_is_estimated_from(
        self, world: Worlds, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calibrate(world.make("x"), project)
        world.promote("1", day(3))
        world.rows(rows(day(4), 30).drop("late"))
        computed = world.watch(**self.ASK)
        world.score(day(4), day(5))
        from tidemill.tools.mlflow import Mlflow

        monkeypatch.setattr(Mlflow, "load", lambda *a: pytest.fail("a model was loaded"))
        found = world.watch(**self.ASK, logged=True, run_id="2")
        assert found.estimate is not None
        assert computed.estimate is not None
        assert found.estimate.metrics == pytest.approx(computed.estimate.metrics)

    def test_a_version_without_a_calibration_is_said(self, world: Worlds) -> None:
        world.promote("1", day(3))
        world.rows(rows(day(4), 30).drop("late"))
        found = world.watch(**self.ASK)
        assert found.estimate is None
        assert "version 1 has no calibration; one is learned when a model is trained" in found.why[-1]

    def test_too_few_rows_are_not_estimated(self, world: Worlds, project: Project) -> None:
        calibrate(world.make("x"), project)
        world.promote("1", day(3))
        world.rows(rows(day(4), 30))
        found = world.watch(**self.ASK, min_rows=301, labels={"source": "include/rows.parquet", "delay": "7 d"})
        assert found.estimate is None
        assert found.why[-1] == "performance is not estimated: the window has 300 rows, min_rows is 301"
