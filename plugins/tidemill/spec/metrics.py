"""The metrics of the language: what each is for, which direction is better, what it needs of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class MetricInfo:
    """A metric by scikit-learn's definition.

    ``probabilities``: the metric needs probabilities, labels do not do. ``one_class``: it exists on rows of a
    single class.
    """

    name: str
    task: Task
    greater_is_better: bool = True
    probabilities: bool = False
    one_class: bool = True


METRICS: Mapping[str, MetricInfo] = {
    m.name: m
    for m in (
        MetricInfo("roc_auc", "classification", probabilities=True, one_class=False),
        MetricInfo("average_precision", "classification", probabilities=True, one_class=False),
        MetricInfo("log_loss", "classification", greater_is_better=False, probabilities=True),
        MetricInfo("brier", "classification", greater_is_better=False, probabilities=True),
        MetricInfo("accuracy", "classification"),
        MetricInfo("f1", "classification", one_class=False),
        MetricInfo("precision", "classification", one_class=False),
        MetricInfo("recall", "classification", one_class=False),
        MetricInfo("rmse", "regression", greater_is_better=False),
        MetricInfo("mae", "regression", greater_is_better=False),
        MetricInfo("mape", "regression", greater_is_better=False),
        MetricInfo("r2", "regression"),
    )
}


def names(task: Task) -> list[str]:
    """The metrics of one task, in the order they are documented in."""
    return [m.name for m in METRICS.values() if m.task == task]
