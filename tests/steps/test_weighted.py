"""Metrics of weighted rows: scikit-learn's own, computed for many weights at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as metrics

from tidemill.spec.metrics import METRICS
from tidemill.steps.scoring import metric_of
from tidemill.steps.weighted import Weighted

NAMES = [name for name, info in METRICS.items() if info.task == "classification"]


def made(classes: int, n: int = 300) -> tuple[Any, Any]:
    """Scores with ties, and the chances of each class."""
    random = np.random.default_rng(classes)
    score, chance = (random.dirichlet(np.ones(classes), n) for _ in range(2))
    score = score.round(2)
    return score / score.sum(axis=1, keepdims=True), chance


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_one_class_each_have_the_metric_itself(name: str, classes: int) -> None:
    proba, chance = made(classes)
    truth, labels = chance.argmax(axis=1), proba.argmax(axis=1)
    given = proba if METRICS[name].probabilities else labels
    (found,) = Weighted(proba, labels).metric(name, np.eye(classes)[truth][None])
    assert found == pytest.approx(metric_of(name, truth, given, classes))


@pytest.mark.parametrize("name", NAMES)
def test_chances_are_rows_once_as_each_class_with_a_weight(name: str) -> None:
    proba, chance = made(2)
    labels = proba.argmax(axis=1)
    truth, weight = np.tile([0, 1], len(proba)), chance.ravel()
    score, told = np.repeat(proba[:, 1], 2), np.repeat(labels, 2)
    theirs = {
        "roc_auc": lambda: metrics.roc_auc_score(truth, score, sample_weight=weight),
        "average_precision": lambda: metrics.average_precision_score(truth, score, sample_weight=weight),
        "log_loss": lambda: metrics.log_loss(truth, score, sample_weight=weight),
        "brier": lambda: metrics.brier_score_loss(truth, score, sample_weight=weight),
        "accuracy": lambda: metrics.accuracy_score(truth, told, sample_weight=weight),
        "precision": lambda: metrics.precision_score(truth, told, sample_weight=weight),
        "recall": lambda: metrics.recall_score(truth, told, sample_weight=weight),
        "f1": lambda: metrics.f1_score(truth, told, sample_weight=weight),
    }
    (found,) = Weighted(proba, labels).metric(name, chance[None])
    assert found == pytest.approx(theirs[name]())


@pytest.mark.parametrize("name", NAMES)
def test_many_weights_at_once_are_as_one_after_the_other(name: str) -> None:
    proba, chance = made(3)
    rows = Weighted(proba, proba.argmax(axis=1))
    both = np.stack([chance, chance[::-1]])
    assert rows.metric(name, both) == pytest.approx([rows.metric(name, each[None])[0] for each in both])


def test_a_label_of_no_class_is_wrong() -> None:
    proba, chance = made(2)
    labels = np.full(len(proba), 2)
    rows = Weighted(proba, labels)
    assert [rows.metric(name, chance[None])[0] for name in ("accuracy", "precision", "recall", "f1")] == [0, 0, 0, 0]


def test_one_class_alone_has_no_area() -> None:
    proba, _ = made(2)
    weights = np.tile([0.0, 1.0], (1, len(proba), 1))
    assert np.isnan(Weighted(proba, proba.argmax(axis=1)).metric("roc_auc", weights)[0])
