"""Confidence intervals: that they cover what they say they do, agree with other computations, and know their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, bootstrap

from tidemill.spec.metrics import METRICS
from tidemill.steps.intervals import Bounds, of_classification, of_regression
from tidemill.steps.scoring import _REGRESSION, metric_of

CLASSIFICATION = [name for name, info in METRICS.items() if info.task == "classification"]
REGRESSION = [name for name, info in METRICS.items() if info.task == "regression"]
LEVEL, TIMES, ROWS = 0.9, 100, 150
# A right method covers fewer or more than this once in a thousand tests.
FEWEST, MOST = binom.ppf([0.001, 0.999], TIMES, LEVEL)


def rows(seed: int, n: int, classes: int) -> tuple[Any, Any]:
    """True classes, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    truth = random.choice(classes, n, p=[0.65, 0.35] if classes == 2 else [0.5, 0.3, 0.2])
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), truth] += 1.2
    proba = np.exp(logits)
    return truth, proba / proba.sum(axis=1, keepdims=True)


def numbers(seed: int, n: int) -> tuple[Any, Any]:
    """True values and predictions, whose errors grow with them."""
    random = np.random.default_rng(seed)
    values = 10 + 2 * random.normal(size=n)
    return values + random.normal(size=n) * (1 + (values > 10)), values


def given(metric: str, proba: Any) -> Any:
    return proba if METRICS[metric].probabilities else proba.argmax(axis=1)


def of(metric: str, truth: Any, proba: Any, level: float = LEVEL) -> tuple[float, Bounds | None]:
    classes = proba.shape[1]
    value = metric_of(metric, truth, given(metric, proba), classes)
    assert value is not None
    return value, of_classification(metric, value, truth, given(metric, proba), classes, level)


class TestCoverage:
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("metric", CLASSIFICATION)
    def test_the_true_value_of_a_classification_lies_in_as_many_as_they_say(self, metric: str, classes: int) -> None:
        truth, proba = rows(0, 200_000, classes)
        true = metric_of(metric, truth, given(metric, proba), classes)
        found = [of(metric, *rows(1 + seed, ROWS, classes))[1] for seed in range(TIMES)]
        assert FEWEST <= sum(b is not None and b.low <= true <= b.high for b in found) <= MOST

    @pytest.mark.parametrize("metric", REGRESSION)
    def test_the_true_value_of_a_regression_does(self, metric: str) -> None:
        true = _REGRESSION[metric](*numbers(0, 400_000))
        hits = 0
        for seed in range(TIMES):
            truth, values = numbers(1 + seed, ROWS)
            found = of_regression(metric, float(_REGRESSION[metric](truth, values)), truth, values, LEVEL)
            hits += found is not None and found.low <= true <= found.high
        assert FEWEST <= hits <= MOST


class TestDefinition:
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("metric", CLASSIFICATION)
    def test_an_interval_is_around_the_value_and_grows_with_its_level(self, metric: str, classes: int) -> None:
        truth, proba = rows(5, 300, classes)
        value, narrow = of(metric, truth, proba, 0.5)
        _, wide = of(metric, truth, proba, 0.99)
        assert narrow is not None
        assert wide is not None
        assert wide.low < narrow.low < value < narrow.high < wide.high

    @pytest.mark.parametrize("metric", ["rmse", "mape", "r2"])
    def test_the_bootstrap_of_numbers_is_scipys(self, metric: str) -> None:
        truth, values = numbers(3, 200)
        found = of_regression(metric, float(_REGRESSION[metric](truth, values)), truth, values, 0.95)
        theirs = bootstrap(
            (truth, values), _REGRESSION[metric], paired=True, vectorized=False, n_resamples=1000,
            method="percentile", rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert found is not None
        width = theirs.high - theirs.low
        assert abs(found.low - theirs.low) < 0.15 * width
        assert abs(found.high - theirs.high) < 0.15 * width

    @pytest.mark.parametrize(("metric", "classes"), [("average_precision", 2), ("average_precision", 3), ("f1", 3)])
    def test_the_bootstrap_of_classes_is_scipys(self, metric: str, classes: int) -> None:
        truth, proba = rows(3, 200, classes)

        def statistic(at: Any) -> float:
            return metric_of(metric, truth[at], given(metric, proba[at]), classes) or 0.0

        _, found = of(metric, truth, proba, 0.95)
        theirs = bootstrap(
            (np.arange(200),), statistic, vectorized=False, n_resamples=400, method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert found is not None
        width = theirs.high - theirs.low
        assert abs(found.low - theirs.low) < 0.2 * width
        assert abs(found.high - theirs.high) < 0.2 * width

    def test_the_area_has_delongs_variance(self) -> None:
        """By its definition, from all pairs (DeLong, DeLong & Clarke-Pearson 1988, equations 4 to 7)."""
        truth, proba = rows(4, 120, 2)
        proba = proba.round(2)  # with ties
        value, found = of("roc_auc", truth, proba, 0.95)
        positive, negative = proba[truth == 1, 1], proba[truth == 0, 1]
        pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        variance = pairs.mean(axis=1).var(ddof=1) / len(positive) + pairs.mean(axis=0).var(ddof=1) / len(negative)
        half = 1.959964 * math.sqrt(variance) / (value * (1 - value))
        middle = math.log(value / (1 - value))
        assert pairs.mean() == pytest.approx(value)
        assert found is not None
        assert [found.low, found.high] == pytest.approx([1 / (1 + math.exp(-middle + d)) for d in (half, -half)])

    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("metric", ["brier", "log_loss"])
    def test_a_mean_is_the_metric_of_scikit_learn(self, metric: str, classes: int) -> None:
        truth, proba = rows(6, 200, classes)
        value, found = of(metric, truth, proba)
        assert found is not None
        assert (found.low + found.high) / 2 == pytest.approx(value)

    def test_the_same_rows_have_the_same_interval(self) -> None:
        truth, values = numbers(2, 500)
        assert of_regression("rmse", 1.5, truth, values, 0.95) == of_regression("rmse", 1.5, truth, values, 0.95)

    @pytest.mark.parametrize("metric", ["rmse", "r2"])
    def test_of_many_rows_it_is_as_narrow_as_it_should_and_cheap(self, metric: str) -> None:
        def width(n: int) -> float:
            truth, values = numbers(1, n)
            found = of_regression(metric, float(_REGRESSION[metric](truth, values)), truth, values, 0.95)
            assert found is not None
            return found.high - found.low

        assert width(400_000) == pytest.approx(width(16_000) / 5, rel=0.15)


class TestLimits:
    def test_a_perfect_ranking_is_not_certain(self) -> None:
        truth, scores = np.repeat([0, 1], [200, 20]), np.linspace(0, 1, 220)
        found = of("roc_auc", truth, np.stack([1 - scores, scores], axis=1), 0.95)[1]
        assert found is not None
        assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)

    @pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1"])
    def test_a_perfect_count_is_not_certain(self, metric: str) -> None:
        truth = np.repeat([0, 1], [10, 10])
        found = of(metric, truth, np.eye(2)[truth], 0.95)[1]
        assert found is not None
        assert 0.6 < found.low < 0.9
        assert found.high == pytest.approx(1)

    def test_one_row_has_no_interval_of_a_mean(self) -> None:
        assert of_regression("mae", 1.0, np.array([1.0]), np.array([2.0]), 0.95) is None
        assert of_regression("rmse", 1.0, np.array([1.0]), np.array([2.0]), 0.95) is None

    def test_one_positive_row_has_no_interval_of_the_area(self) -> None:
        truth, scores = np.array([0] * 99 + [1]), np.append(np.linspace(0, 1, 99), 0.5)
        assert of("roc_auc", truth, np.stack([1 - scores, scores], axis=1), 0.95)[1] is None

    def test_nothing_predicted_has_no_precision_to_be_sure_of(self) -> None:
        truth, proba = np.array([0, 1] * 20), np.tile([0.9, 0.1], (40, 1))
        assert of("precision", truth, proba)[1] is None
        recall = of("recall", truth, proba)[1]
        assert recall is not None
        assert recall.low == 0
        assert recall.high > 0.05

    def test_a_constant_truth_has_no_r2(self) -> None:
        assert of_regression("r2", 0.0, np.ones(50), np.linspace(0, 1, 50), 0.95) is None

    def test_a_label_that_is_no_class_is_wrong(self) -> None:
        truth, labels = np.array([0, 1] * 20), np.array([0, 2] * 20)
        found = of_classification("recall", 0.0, truth, labels, 2, 0.95)
        assert found is not None
        assert found.low == 0
