"""The metrics' facts, against scikit-learn: direction, need of probabilities, and what one class does to them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tidemill.spec.metrics import METRICS, names


@pytest.fixture(scope="module")
def computed() -> dict[str, Callable[[Any, Any], float]]:
    """Each metric from targets and scores: probabilities, or labels cut at one half."""
    import numpy as np
    from sklearn import metrics as sk

    def labels(of: Callable[..., float], **options: Any) -> Callable[[Any, Any], float]:
        return lambda y, p: float(of(y, (np.asarray(p) >= 0.5).astype(int), **options))

    return {
        "roc_auc": lambda y, p: float(sk.roc_auc_score(y, p)),
        "average_precision": lambda y, p: float(sk.average_precision_score(y, p)),
        "log_loss": lambda y, p: float(sk.log_loss(y, p, labels=[0, 1])),
        "brier": lambda y, p: float(sk.brier_score_loss(y, p, pos_label=1)),
        "accuracy": labels(sk.accuracy_score),
        "f1": labels(sk.f1_score, zero_division=math.nan),
        "precision": labels(sk.precision_score, zero_division=math.nan),
        "recall": labels(sk.recall_score, zero_division=math.nan),
        "rmse": lambda y, p: float(sk.root_mean_squared_error(y, p)),
        "mae": lambda y, p: float(sk.mean_absolute_error(y, p)),
        "mape": lambda y, p: float(sk.mean_absolute_percentage_error(y, p)),
        "r2": lambda y, p: float(sk.r2_score(y, p)),
    }


def test_every_metric_belongs_to_one_task_and_is_listed_there(computed: dict[str, Any]) -> None:
    assert {*names("classification"), *names("regression")} == METRICS.keys() == computed.keys()
    assert not {*names("classification")} & {*names("regression")}
    assert all(name == info.name for name, info in METRICS.items())


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_is_right(name: str, computed: dict[str, Callable[[Any, Any], float]]) -> None:
    if METRICS[name].task == "classification":
        truth, good, bad = [0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], [0.9, 0.2, 0.6, 0.3]
    else:
        truth, good, bad = [1.0, 2.0, 3.0, 4.0], [1.1, 2.1, 2.9, 4.0], [4.0, 1.0, 1.0, 2.0]
    better, worse = computed[name](truth, good), computed[name](truth, bad)
    assert (better > worse) is METRICS[name].greater_is_better


@pytest.mark.parametrize("name", names("classification"))
def test_probabilities_are_needed_where_labels_lose_something(
    name: str, computed: dict[str, Callable[[Any, Any], float]]
) -> None:
    truth, scores = [0, 1, 0, 1, 1], [0.1, 0.9, 0.7, 0.8, 0.4]
    labels = [float(score >= 0.5) for score in scores]
    differs = not math.isclose(computed[name](truth, scores), computed[name](truth, labels))
    assert differs is METRICS[name].probabilities


@pytest.mark.parametrize("name", names("classification"))
def test_what_needs_two_classes_says_so(name: str, computed: dict[str, Callable[[Any, Any], float]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [computed[name]([target] * 3, [0.2, 0.3, 0.4]) for target in (0, 1)]
    exists = all(math.isfinite(value) for value in found)
    # Average precision, recall and precision exist on one of the classes alone, where they mean nothing.
    assert METRICS[name].one_class is (exists and name != "average_precision")
