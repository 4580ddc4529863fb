"""How good a model is on some rows: the metrics of the language, by scikit-learn's definitions.

Evaluation and monitoring call this one function, so their figures can be compared.

The classes of a classification are those of the training's target, sorted; of two the last is the positive one
(``1``, ``True``, ``yes`` after ``no``). With more than two, ``roc_auc`` is one-vs-rest and, like ``f1``,
``precision``, ``recall`` and ``average_precision``, the plain mean over the classes.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tidemill.records import Scores, Slice
from tidemill.spec.metrics import METRICS
from tidemill.steps.context import StepError
from tidemill.tools.predictor import Label, LabelsOnly

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from tidemill.spec.models import Evaluate
    from tidemill.steps.intervals import Bounds

__all__ = [
    "Classified", "LabelsOnly", "Predicts", "Regressed", "Scored", "classes_of", "in_order", "metric_of", "predicted",
    "score", "score_with_reasons",
]  # fmt: skip

MAX_SLICES = 1000
_MISSING = "(missing)"
_Array = Any


class Predicts(Protocol):
    """What can say something of rows: a loaded model (:class:`tidemill.tools.predictor.Predictor`), or a log of what
    one has said."""

    name: str
    classes: list[Label] | None

    def probabilities(self, rows: Any, classes: Sequence[Label], /) -> Any:
        """(rows, classes)."""

    def labels(self, rows: Any, classes: Sequence[Label], /) -> list[Any]:
        """The class of each row."""

    def values(self, rows: Any, /) -> Any:
        """(rows,) numbers."""


@dataclass(frozen=True)
class Scored:
    """Scores, for each metric of them that does not exist the reason, and the rows that they are of."""

    scores: Scores
    missing: dict[str, str]
    rows: Classified | Regressed


def score(predictor: Predicts, frame: pl.DataFrame, evaluate: Evaluate) -> Scores:
    """The metrics of ``evaluate`` on the frame's rows, and on each of its slices.

    Args:
        predictor: the model.
        frame: the rows, with the target; the model is given all other columns.
        evaluate: task, target, metrics and slices.

    Raises:
        StepError: a column is missing; the target has missing values or is not of the task; a column has too
            many values to slice by; the model fails, gives no probabilities where a metric needs them
            (``LabelsOnly``), or gives something that is no prediction.
    """
    return score_with_reasons(predictor, frame, evaluate).scores


def score_with_reasons(predictor: Predicts, frame: pl.DataFrame, evaluate: Evaluate) -> Scored:
    """As :func:`score`, with the reason for each metric that does not exist on the rows as a whole."""
    _check_columns(frame, [evaluate.target, *evaluate.slices])
    if frame.is_empty():
        raise StepError("there are no rows to score the model on")
    rows = predicted(predictor, frame, evaluate)
    metrics, missing = rows.metrics(evaluate.metrics, None)
    slices = [s for column in evaluate.slices for s in _slices(rows, frame, column, evaluate.metrics)]
    return Scored(Scores(metrics=metrics, slices=tuple(slices)), missing, rows)


def classes_of(target: pl.Series) -> list[Label]:
    """The classes of a target, sorted.

    Raises:
        StepError: the values are not labels (fractions, dates).
    """
    import polars as pl

    values = target.drop_nulls().unique()
    kind = values.dtype
    if kind.is_float():
        if not values.is_nan().any() and (values == values.round()).all():
            return sorted(int(v) for v in values.to_list())
    elif kind.is_integer() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum):
        return sorted(values.cast(pl.String).to_list() if kind in (pl.Categorical, pl.Enum) else values.to_list())
    raise StepError(
        f"the target {target.name!r} ({kind}) does not hold classes (integers, booleans or texts); for numbers "
        "set `task: regression`"
    )


@dataclass(frozen=True)
class Classified:
    """Rows with their true class (an index into ``classes``), and what the model says of them."""

    classes: Sequence[Label]
    truth: _Array
    proba: _Array | None
    labels: _Array | None
    unknown: str | None

    def metrics(self, names: Sequence[str], at: _Array | None) -> tuple[dict[str, float | None], dict[str, str]]:
        """Each metric on the rows ``at`` (all of them if ``None``), and why if there is none."""
        import numpy as np

        truth = self.truth if at is None else self.truth[at]
        present = len(np.unique(truth))
        found: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for name in names:
            info = METRICS[name]
            given = self.proba if info.probabilities else self.labels
            assert given is not None
            given = given if at is None else given[at]
            if info.probabilities and self.unknown is not None:
                why: str | None = self.unknown
            elif not info.one_class and present < len(self.classes):
                why = _lacking(present, len(self.classes))
            elif info.probabilities and not np.isfinite(given).all():
                bad = int((~np.isfinite(given).all(axis=1)).sum())
                why = f"the model gave NaN or infinity for {bad:,} of {len(truth):,} rows"
            else:
                why = None
            found[name] = None if why else metric_of(name, truth, given, len(self.classes))
            if found[name] is None:
                missing[name] = why or f"{name} is not defined on these rows"
        return found, missing

    def interval(self, name: str, value: float, confidence: float) -> Bounds | None:
        """The confidence interval of a metric that has this value on all rows; ``None`` if they do not allow one."""
        from tidemill.steps.intervals import of_classification

        given = self.proba if METRICS[name].probabilities else self.labels
        return of_classification(name, value, self.truth, given, len(self.classes), confidence)

    def unjudged(self, at: _Array) -> str | None:
        """Why the rows ``at`` cannot be judged as a slice."""
        import numpy as np

        present = len(np.unique(self.truth[at]))
        if len(at) < 2:
            return "one row"
        return None if present == len(self.classes) else _lacking(present, len(self.classes))


@dataclass(frozen=True)
class Regressed:
    """Rows with their true value and the model's."""

    truth: _Array
    values: _Array

    def metrics(self, names: Sequence[str], at: _Array | None) -> tuple[dict[str, float | None], dict[str, str]]:
        """Each metric on the rows ``at`` (all of them if ``None``), and why if there is none."""
        import numpy as np

        truth, values = (self.truth, self.values) if at is None else (self.truth[at], self.values[at])
        bad = int((~np.isfinite(values)).sum())
        found: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for name in names:
            why = f"the model gave NaN or infinity for {bad:,} of {len(truth):,} rows" if bad else None
            if name == "r2" and len(truth) < 2:
                why = "r2 needs two rows"
            found[name] = None if why else _finite(_REGRESSION[name](truth, values))
            if found[name] is None:
                missing[name] = why or f"{name} is not defined on these rows"
        return found, missing

    def interval(self, name: str, value: float, confidence: float) -> Bounds | None:
        """The confidence interval of a metric that has this value on all rows; ``None`` if they do not allow one."""
        from tidemill.steps.intervals import of_regression

        return of_regression(name, value, self.truth, self.values, confidence)

    def unjudged(self, at: _Array) -> str | None:
        """Why the rows ``at`` cannot be judged as a slice."""
        return "one row" if len(at) < 2 else None


def predicted(predictor: Predicts, frame: pl.DataFrame, evaluate: Evaluate) -> Classified | Regressed:
    """The frame's rows with their target and what the model says of them, for the metrics of ``evaluate``.

    Raises:
        StepError: as :func:`score`.
    """
    target = frame[evaluate.target]
    gone = target.null_count() + (int(target.is_nan().sum()) if target.dtype.is_float() else 0)
    if gone:
        every = "all" if gone == frame.height else f"{gone:,} of"
        raise StepError(
            f"the target {evaluate.target!r} is missing in {every} {frame.height:,} rows; a model cannot be judged "
            "on rows without it: fill them in the source, or leave them out of it"
        )
    rows = frame.drop(evaluate.target).to_pandas()
    if evaluate.task == "regression":
        if not (target.dtype.is_numeric() and target.is_finite().all()):
            raise StepError(f"the target {evaluate.target!r} ({target.dtype}) does not hold finite numbers")
        return Regressed(target.to_numpy().astype(float), predictor.values(rows))
    return _classified(predictor, rows, target, evaluate.metrics)


def _classified(predictor: Predicts, rows: Any, target: pl.Series, metrics: Sequence[str]) -> Classified:
    import numpy as np
    import polars as pl

    here = classes_of(target)
    classes = in_order(predictor.classes if predictor.classes is not None else here)
    strange = [c for c in here if c not in classes]
    unknown = f"{predictor.name} does not know the class {strange[0]!r}" if strange else None
    every = [*classes, *strange]
    if len(every) == 1:
        every.append("(any other)")
    index = {label: i for i, label in enumerate(every)}
    values = target.cast(pl.String) if target.dtype in (pl.Categorical, pl.Enum) else target
    truth = np.array([index[v] for v in values.to_list()])
    wanted = {METRICS[m].probabilities for m in metrics}
    proba = labels = None
    if True in wanted:
        proba = predictor.probabilities(rows, classes)
        if proba.shape[1] < len(every):
            proba = np.pad(proba, ((0, 0), (0, len(every) - proba.shape[1])))
    if False in wanted:
        # A label that is no class of the target is wrong, and of no class.
        labels = np.array([index.get(v, len(every)) for v in predictor.labels(rows, classes)])
    return Classified(every, truth, proba, labels, unknown)


def _slices(rows: Classified | Regressed, frame: pl.DataFrame, column: str, metrics: Sequence[str]) -> list[Slice]:
    """One slice for each value of a column, the largest first."""
    import polars as pl

    groups = frame.select(pl.col(column)).with_row_index("_row").group_by(column).agg("_row")
    if groups.height > MAX_SLICES:
        raise StepError(
            f"evaluate.slices: {column!r} has {groups.height:,} values; a slice is judged by itself, so a column of "
            f"at most {MAX_SLICES:,} values is needed"
        )
    found = []
    for value, members in groups.rows():
        at = members if not hasattr(members, "to_numpy") else members.to_numpy()
        at = _array(at)
        found.append(
            Slice(
                column=column,
                value=_MISSING if value is None else str(value),
                rows=len(at),
                metrics=rows.metrics(metrics, at)[0],
                unjudged=rows.unjudged(at),
            )
        )
    return sorted(found, key=lambda s: (-s.rows, s.value))


def _check_columns(frame: pl.DataFrame, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in frame.columns:
            close = difflib.get_close_matches(name, frame.columns, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(frame.columns[:20])}"
            raise StepError(f"the rows have no column {name!r}{hint}")


def _array(values: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.asarray(values, dtype=np.intp)


def in_order(classes: Sequence[Label]) -> list[Label]:
    """Classes as metrics and logs have them: sorted, by their texts if they are of several types."""
    try:
        return sorted(classes)
    except TypeError:
        return sorted(classes, key=str)


def _lacking(present: int, of: int) -> str:
    return "one class" if present == 1 else f"{of - present} of {of} classes are missing"


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def metric_of(name: str, truth: _Array, given: _Array, classes: int) -> float | None:
    """A metric of a classification; ``None`` if it is no finite number.

    Args:
        name: the metric.
        truth: (rows,) the index of each row's class.
        given: (rows, classes) probabilities, or (rows,) indexes of the predicted class, as the metric needs.
        classes: how many there are.
    """
    return _finite(_CLASSIFICATION[name](truth, given, classes))


def _roc_auc(truth: _Array, proba: _Array, classes: int) -> Any:
    from sklearn.metrics import roc_auc_score

    if classes == 2:
        return roc_auc_score(truth, proba[:, 1])
    return roc_auc_score(truth, proba, multi_class="ovr", average="macro", labels=range(classes))


def _average_precision(truth: _Array, proba: _Array, classes: int) -> Any:
    import numpy as np
    from sklearn.metrics import average_precision_score

    if classes == 2:
        return average_precision_score(truth, proba[:, 1])
    return average_precision_score(np.eye(classes)[truth], proba, average="macro")


def _log_loss(truth: _Array, proba: _Array, classes: int) -> Any:
    from sklearn.metrics import log_loss

    return log_loss(truth, proba, labels=range(classes))


def _brier(truth: _Array, proba: _Array, classes: int) -> Any:
    from sklearn.metrics import brier_score_loss

    return brier_score_loss(truth, proba, labels=range(classes))


def _accuracy(truth: _Array, labels: _Array, classes: int) -> Any:
    from sklearn.metrics import accuracy_score

    return accuracy_score(truth, labels)


def _per_class(name: str) -> Callable[[_Array, _Array, int], Any]:
    """A metric of one class (of the positive one of two), else the mean over the classes."""

    def compute(truth: _Array, labels: _Array, classes: int) -> Any:
        import sklearn.metrics

        judged = [1] if classes == 2 else list(range(classes))
        function = getattr(sklearn.metrics, f"{name}_score")
        return function(truth, labels, labels=judged, average="macro", zero_division=0)

    return compute


def _regression(name: str) -> Callable[[_Array, _Array], Any]:
    def compute(truth: _Array, values: _Array) -> Any:
        import sklearn.metrics

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(sklearn.metrics, name)(truth, values)

    return compute


_CLASSIFICATION: dict[str, Callable[[_Array, _Array, int], Any]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _accuracy,
    "f1": _per_class("f1"),
    "precision": _per_class("precision"),
    "recall": _per_class("recall"),
}
_REGRESSION: dict[str, Callable[[_Array, _Array], Any]] = {
    "rmse": _regression("root_mean_squared_error"),
    "mae": _regression("mean_absolute_error"),
    "mape": _regression("mean_absolute_percentage_error"),
    "r2": _regression("r2_score"),
}
