"""A loaded model, whatever library made it: probabilities, labels or values of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tidemill.steps.context import StepError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Label = str | int | float | bool


class LabelsOnly(StepError):
    """The model gives labels where probabilities are needed."""


class Predictor:
    """A model with ``predict_proba``, ``predict``, or both, that takes a pandas DataFrame.

    A model with ``predict`` alone gives probabilities if what it returns is one number in [0, 1] a row that is
    not only 0 and 1 (the probability of the positive class), or one column a class; else it gives labels.

    Args:
        model: the object.
        name: what messages call it: ``the model``, ``version 3``.
        classes: the classes of the target at training; those that the model itself tells (``classes_``) go
            before.
        keep: whatever must live as long as the model (the folder that it was loaded from).
        inputs: the columns that it was given at training, if that is known.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str = "the model",
        classes: Sequence[Label] | None = None,
        keep: Any = None,
        inputs: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.name = name
        self.inputs = tuple(inputs)
        told = getattr(model, "classes_", None)
        self.classes: list[Label] | None = _plain(told) if _is_flat(told) else _plain(classes)
        self._keep = keep
        if not (callable(getattr(model, "predict", None)) or callable(getattr(model, "predict_proba", None))):
            kind = f"{type(model).__module__}.{type(model).__qualname__}"
            raise StepError(f"{name} ({kind}) has neither predict nor predict_proba, so it is no model")

    def probabilities(self, rows: pd.DataFrame, classes: Sequence[Label]) -> np.ndarray[Any, Any]:
        """The probability of each class for each row: (rows, classes), columns as in ``classes``.

        Raises:
            LabelsOnly: the model gives labels.
            StepError: the model fails on the rows, or gives something that is not probabilities.
        """
        import numpy as np

        proba = getattr(self.model, "predict_proba", None)
        raw = self._call(proba or self.model.predict, rows)
        if not callable(proba) and not _look_like_probabilities(raw, len(classes)):
            raise LabelsOnly(
                f"{self.name} gives only labels (it has no predict_proba), and log_loss, roc_auc and the like "
                "need probabilities: return a model with predict_proba, or ask for accuracy, f1, precision, recall"
            )
        try:
            values = np.asarray(raw, dtype=float)
        except (TypeError, ValueError):
            raise StepError(f"{self.name}: its probabilities are not numbers") from None
        values = self._columns(values, classes)
        finite = values[np.isfinite(values).all(axis=1)]
        if finite.size and (finite.min() < -1e-6 or finite.max() > 1 + 1e-6):
            raise StepError(
                f"{self.name}: its probabilities lie between {finite.min():g} and {finite.max():g}, not 0 and 1"
            )
        if finite.size and abs(finite.sum(axis=1) - 1).max() > 1e-3:
            raise StepError(f"{self.name}: its probabilities of the classes do not add up to 1")
        return values

    def labels(self, rows: pd.DataFrame, classes: Sequence[Label]) -> list[Any]:
        """The predicted class of each row; from the probabilities where the model gives nothing else.

        Raises:
            StepError: the model fails on the rows.
        """
        predict = getattr(self.model, "predict", None)
        if callable(predict):
            raw = self._call(predict, rows)
            if not _look_like_probabilities(raw, len(classes)):
                return [_item(v) for v in _flat(raw)]
        best = self.probabilities(rows, classes).argmax(axis=1)
        return [classes[i] for i in best]

    def values(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
        """The predicted number for each row, for a regression.

        Raises:
            StepError: the model fails on the rows, or does not give one number a row.
        """
        import numpy as np

        if not callable(getattr(self.model, "predict", None)):
            raise StepError(f"{self.name} has no predict")
        raw = self._call(self.model.predict, rows)
        try:
            values = np.asarray(_flat(raw), dtype=float)
        except (TypeError, ValueError):
            raise StepError(f"{self.name}: its predictions are not numbers") from None
        if values.shape != (len(rows),):
            raise StepError(f"{self.name}: predict gave {values.shape} for {len(rows):,} rows, not one number a row")
        return values

    def _call(self, function: Callable[[Any], Any], rows: pd.DataFrame) -> Any:
        try:
            raw = function(rows)
            count = len(raw)
        except Exception as e:
            said = f"{type(e).__name__}: {e}".strip()
            name = getattr(function, "__name__", "predict")
            raise StepError(
                f"{self.name}: {name} failed on {len(rows):,} rows of {len(rows.columns)} columns: {said:.500}"
            ) from e
        if count != len(rows):
            raise StepError(f"{self.name} gave {count:,} predictions for {len(rows):,} rows")
        return raw

    def _columns(self, values: np.ndarray[Any, Any], classes: Sequence[Label]) -> np.ndarray[Any, Any]:
        """Probabilities as (rows, classes): a single column is the positive class, columns are put in order."""
        import numpy as np

        if values.ndim == 2 and values.shape[1] == 1 and len(classes) == 2:
            values = values[:, 0]
        if values.ndim == 1 and len(classes) == 2:
            return np.stack([1 - values, values], axis=1)
        own = self.classes if self.classes is not None else list(classes)
        if values.ndim != 2 or values.shape[1] != len(own):
            raise StepError(
                f"{self.name}: its probabilities have the shape {values.shape}; the target has {len(own)} classes"
            )
        if list(own) == list(classes):
            return values
        return np.stack([values[:, own.index(c)] if c in own else np.zeros(len(values)) for c in classes], axis=1)


def _look_like_probabilities(raw: Any, classes: int) -> bool:
    import numpy as np

    values = np.asarray(raw)
    if values.dtype.kind != "f":
        return False
    if values.ndim == 2 and values.shape[1] > 1:
        return bool(values.shape[1] == classes)
    flat = values[np.isfinite(values)]
    return bool(classes == 2 and flat.size and ((flat >= 0) & (flat <= 1)).all() and not np.isin(flat, (0, 1)).all())


def _is_flat(told: Any) -> bool:
    return (
        told is not None
        and not isinstance(told, str)
        and getattr(told, "ndim", 1) == 1
        and not isinstance(next(iter(told), None), list | tuple)
    )


def _plain(values: Any) -> list[Label] | None:
    return None if values is None else [_item(v) for v in values]


def _flat(raw: Any) -> Any:
    import numpy as np

    values = np.asarray(raw)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
