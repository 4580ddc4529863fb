"""The metrics against scikit-learn's own, and what has no metric, with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk

from tidemill.spec.metrics import names
from tidemill.spec.models import Evaluate
from tidemill.steps.context import StepError
from tidemill.steps.scoring import LabelsOnly, classes_of, score, score_with_reasons
from tidemill.tools.predictor import Predictor


class Gives:
    """A model that gives what it was made with, row by row of the column ``i``."""

    def __init__(self, proba: Any = None, labels: Any = None, classes: Any = None) -> None:
        if proba is not None:
            self.predict_proba = lambda frame: np.asarray(proba)[frame["i"].to_numpy()]
        if labels is not None:
            self.predict = lambda frame: np.asarray(labels)[frame["i"].to_numpy()]
        if classes is not None:
            self.classes_ = np.asarray(classes)


def ask(*metrics: str, task: str = "classification", slices: tuple[str, ...] = ()) -> Evaluate:
    given = {"task": task, "target": "y", "metrics": list(metrics), "slices": list(slices)}
    return Evaluate.model_validate(given)


def frame(y: Any, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"i": range(len(y)), "y": y, **columns})


RANDOM = np.random.default_rng(0)
Y2 = RANDOM.integers(0, 2, 300)
P2 = np.clip(0.5 + 0.3 * (Y2 - 0.5) + RANDOM.normal(scale=0.2, size=300), 0.01, 0.99)
PROBA2 = np.stack([1 - P2, P2], axis=1)
BINARY = {
    "roc_auc": sk.roc_auc_score(Y2, P2),
    "average_precision": sk.average_precision_score(Y2, P2),
    "log_loss": sk.log_loss(Y2, P2),
    "brier": sk.brier_score_loss(Y2, P2),
    "accuracy": sk.accuracy_score(Y2, P2 > 0.5),
    "f1": sk.f1_score(Y2, P2 > 0.5),
    "precision": sk.precision_score(Y2, P2 > 0.5),
    "recall": sk.recall_score(Y2, P2 > 0.5),
}
TARGETS: dict[str, Any] = {
    "integers": Y2.tolist(),
    "booleans": [bool(v) for v in Y2],
    "texts": ["yes" if v else "no" for v in Y2],
    "whole floats": [float(v) for v in Y2],
    "categories": pl.Series(["yes" if v else "no" for v in Y2], dtype=pl.Categorical),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_binary_metrics_are_scikit_learns_with_the_last_class_as_the_positive_one(kind: str) -> None:
    rows = frame(TARGETS[kind])
    classes = classes_of(rows["y"])
    model = Gives(PROBA2, [classes[int(p > 0.5)] for p in P2], classes)
    assert score(Predictor(model), rows, ask(*names("classification"))).metrics == pytest.approx(BINARY)


@pytest.mark.parametrize(
    "model",
    [
        Gives(PROBA2),
        Gives(PROBA2[:, 1]),
        Gives(PROBA2[:, 1:]),
        Gives(labels=P2),
        Gives(labels=PROBA2),
        Gives(PROBA2[:, ::-1], classes=[1, 0]),
    ],
    ids=["two columns", "one number", "one column", "predict gives one", "predict gives two", "classes turned"],
)
def test_probabilities_come_in_many_shapes(model: Gives) -> None:
    assert score(Predictor(model), frame(Y2.tolist()), ask(*names("classification"))).metrics == pytest.approx(BINARY)


def test_metrics_of_more_classes_are_scikit_learns() -> None:
    y = np.array(["a", "b", "c"])[RANDOM.integers(0, 3, 200)]
    proba = RANDOM.dirichlet([1, 1, 1], 200)
    labels = np.array(["a", "b", "c"])[proba.argmax(axis=1)]
    onehot = np.stack([y == c for c in "abc"], axis=1).astype(int)
    expected = {
        "roc_auc": sk.roc_auc_score(y, proba, multi_class="ovr"),
        "average_precision": sk.average_precision_score(onehot, proba),
        "log_loss": sk.log_loss(y, proba),
        "brier": sk.brier_score_loss(y, proba),
        "accuracy": sk.accuracy_score(y, labels),
        "f1": sk.f1_score(y, labels, average="macro"),
        "precision": sk.precision_score(y, labels, average="macro"),
        "recall": sk.recall_score(y, labels, average="macro"),
    }
    found = score(Predictor(Gives(proba)), frame(y.tolist()), ask(*names("classification"))).metrics
    assert found == pytest.approx(expected)


def test_regression_metrics_are_scikit_learns() -> None:
    y = RANDOM.normal(10, 2, 100)
    guess = y + RANDOM.normal(size=100)
    expected = {
        "rmse": sk.root_mean_squared_error(y, guess),
        "mae": sk.mean_absolute_error(y, guess),
        "mape": sk.mean_absolute_percentage_error(y, guess),
        "r2": sk.r2_score(y, guess),
    }
    for shape in (guess, guess[:, None]):
        found = score(Predictor(Gives(labels=shape)), frame(y), ask(*names("regression"), task="regression"))
        assert found.metrics == pytest.approx(expected)


def test_one_class_has_no_metric_that_needs_two() -> None:
    model = Predictor(Gives(PROBA2, classes=[0, 1]))
    found = score_with_reasons(model, frame([0] * 300), ask("roc_auc", "average_precision", "f1", "log_loss", "brier"))
    assert found.missing == {"roc_auc": "one class", "average_precision": "one class", "f1": "one class"}
    assert found.scores.metrics == {
        "roc_auc": None,
        "average_precision": None,
        "f1": None,
        "log_loss": pytest.approx(-np.log(1 - P2).mean()),
        "brier": pytest.approx((P2**2).mean()),
    }


def test_predictions_that_are_not_numbers_leave_no_metric() -> None:
    broken = PROBA2.copy()
    broken[7] = np.nan
    found = score_with_reasons(Predictor(Gives(broken)), frame(Y2.tolist()), ask("roc_auc", "log_loss"))
    assert found.scores.metrics == {"roc_auc": None, "log_loss": None}
    assert found.missing["log_loss"] == "the model gave NaN or infinity for 1 of 300 rows"
    values = np.where(np.arange(300) < 2, np.inf, 1.0)
    found = score_with_reasons(Predictor(Gives(labels=values)), frame(P2), ask("mae", task="regression"))
    assert found.missing == {"mae": "the model gave NaN or infinity for 2 of 300 rows"}


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "brier", "average_precision"])
@pytest.mark.parametrize("labels", [Y2, Y2.astype(float), Y2.astype(bool), np.array(["no", "yes"])[Y2]])
def test_a_model_that_gives_only_labels_is_refused_for_probabilities(metric: str, labels: Any) -> None:
    with pytest.raises(LabelsOnly, match="version 3 gives only labels"):
        score(Predictor(Gives(labels=labels), name="version 3"), frame(labels.tolist()), ask("accuracy", metric))
    assert score(Predictor(Gives(labels=labels)), frame(labels.tolist()), ask("accuracy")).metrics == {"accuracy": 1.0}


def test_a_class_that_the_model_does_not_know() -> None:
    y = ["a", "b", "c", "a", "b", "c"]
    proba = np.full((6, 2), 0.5)
    model = Predictor(Gives(proba, ["a", "b", "a", "a", "b", "b"], ["a", "b"]))
    found = score_with_reasons(model, frame(y), ask("log_loss", "accuracy"))
    assert found.scores.metrics == {"log_loss": None, "accuracy": pytest.approx(4 / 6)}
    assert found.missing == {"log_loss": "the model does not know the class 'c'"}


def test_a_label_that_is_no_class_is_wrong() -> None:
    model = Predictor(Gives(labels=["a", "x", "b", "b"]), classes=["a", "b"])
    found = score(model, frame(["a", "a", "b", "b"]), ask("accuracy", "recall", "precision"))
    assert found.metrics == {"accuracy": 0.75, "recall": 1.0, "precision": 1.0}


def test_slices_are_judged_by_themselves_the_largest_first() -> None:
    carrier = ["AA"] * 200 + ["UA"] * 97 + [None] * 2 + ["OO"]
    y = [*Y2[:297].tolist(), 1, 1, 0]
    found = score(Predictor(Gives(PROBA2)), frame(y, carrier=carrier), ask("roc_auc", "log_loss", slices=("carrier",)))
    assert [(s.column, s.value, s.rows, s.unjudged) for s in found.slices] == [
        ("carrier", "AA", 200, None),
        ("carrier", "UA", 97, None),
        ("carrier", "(missing)", 2, "one class"),
        ("carrier", "OO", 1, "one row"),
    ]
    assert found.slices[1].metrics["roc_auc"] == pytest.approx(sk.roc_auc_score(Y2[200:297], P2[200:297]))
    assert found.slices[2].metrics["roc_auc"] is None
    assert found.slices[2].metrics["log_loss"] == pytest.approx(-np.log(P2[297:299]).mean())


def test_slices_of_a_regression() -> None:
    rows = frame([1.0, 2.0, 3.0], flag=[True, True, False])
    found = score(Predictor(Gives(labels=[1.0, 3.0, 3.0])), rows, ask("mae", "r2", task="regression", slices=("flag",)))
    assert [(s.value, s.metrics["mae"], s.metrics["r2"], s.unjudged) for s in found.slices] == [
        ("True", 0.5, -1.0, None),
        ("False", 0.0, None, "one row"),
    ]


def test_the_model_is_given_every_column_but_the_target() -> None:
    seen: list[list[str]] = []

    class Looks:
        def predict(self, rows: Any) -> Any:
            seen.append([f"{c} {rows[c].dtype.kind}" for c in rows.columns])
            return [0, 1]

    score(Predictor(Looks()), frame([0, 1], a=[1.5, None], b=["x", None], n=[1, None]), ask("accuracy"))
    assert seen == [["i i", "a f", "b O", "n f"]]


BAD: dict[str, tuple[Any, pl.DataFrame, Evaluate, str]] = {
    "no target column": (
        Gives(PROBA2), pl.DataFrame({"i": [0], "late": [0]}), ask("accuracy"),
        "the rows have no column 'y'; there are i, late",
    ),
    "misspelt slice": (
        Gives(PROBA2), frame([0, 1], carrier=["A", "B"]), ask("accuracy", slices=("carier",)),
        "the rows have no column 'carier'; did you mean 'carrier'?",
    ),
    "all of the target missing": (
        Gives(PROBA2), frame([None, None]), ask("accuracy"),
        "the target 'y' is missing in all 2 rows; a model cannot be judged on rows without it: fill them in the "
        "source, or leave them out of it",
    ),
    "NaN in the target": (
        Gives(PROBA2), frame([1.0, float("nan"), 0.0]), ask("accuracy"), "the target 'y' is missing in 1 of 3 rows"
    ),
    "fractions as classes": (
        Gives(PROBA2), frame([0.5, 1.5]), ask("accuracy"),
        "the target 'y' (Float64) does not hold classes (integers, booleans or texts); for numbers set `task: "
        "regression`",
    ),
    "texts as numbers": (
        Gives(labels=[1, 2]), frame(["a", "b"]), ask("mae", task="regression"),
        "the target 'y' (String) does not hold finite numbers",
    ),
    "no rows": (Gives(PROBA2), frame([0]).head(0), ask("accuracy"), "there are no rows to score the model on"),
    "a model that fails": (
        Gives(PROBA2[:, 1]), frame([0, 1] * 600), ask("accuracy"),
        "the model: <lambda> failed on 1,200 rows of 1 columns: IndexError: index 300 is out of bounds",
    ),
    "three columns for two classes": (
        Gives(np.full((2, 3), 1 / 3)), frame([0, 1]), ask("log_loss"),
        "the model: its probabilities have the shape (2, 3); the target has 2 classes",
    ),
    "scores instead of probabilities": (
        Gives([[-3.0, 3.0], [2.0, -2.0]]), frame([0, 1]), ask("log_loss"),
        "the model: its probabilities lie between -3 and 3, not 0 and 1",
    ),
    "no sum of one": (
        Gives([[0.5, 0.9], [0.5, 0.5]]), frame([0, 1]), ask("log_loss"),
        "the model: its probabilities of the classes do not add up to 1",
    ),
    "too few predictions": (
        type("Few", (), {"predict": lambda self, rows: [1]})(), frame([0, 1]), ask("accuracy"),
        "the model gave 1 predictions for 2 rows",
    ),
    "texts as predictions": (
        Gives(labels=["a", "b"]), frame([0.5, 1.5]), ask("mae", task="regression"),
        "the model: its predictions are not numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_scored_is_said(name: str) -> None:
    model, rows, evaluate, said = BAD[name]
    with pytest.raises(StepError) as e:
        score(Predictor(model), rows, evaluate)
    assert str(e.value).startswith(said)
    assert not e.value.retry


def test_a_column_of_too_many_values_is_no_slice() -> None:
    rows = frame([0, 1] * 600, n=range(1200))
    model = type("Zero", (), {"predict": lambda self, rows: [0] * len(rows)})()
    with pytest.raises(StepError, match=r"evaluate.slices: 'n' has 1,200 values"):
        score(Predictor(model), rows, ask("accuracy", slices=("n",)))


def test_an_object_that_is_no_model() -> None:
    with pytest.raises(StepError, match=r"\(builtins.dict\) has neither predict nor predict_proba"):
        Predictor({})
