"""The metrics of rows that count as rows of each class by a weight: by its chance, where the class is not known; or by
how often a row was drawn, as one of its own class. They are scikit-learn's, with each row once as each class.

What depends on the scores alone (their order, the loss that each class would mean) is computed once, for any number of
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_Array = Any


class Weighted:
    """The metrics of rows with known predictions, as functions of how much they count as rows of each class.

    Args:
        proba: (rows, classes) scores.
        labels: (rows,) the index of each predicted class; ``classes`` and more for one that is none of them.
    """

    def __init__(self, proba: _Array, labels: _Array) -> None:
        self.proba, self.labels = proba, labels
        self.classes = proba.shape[1]
        self._judged = [1] if self.classes == 2 else list(range(self.classes))
        self._order: dict[int, tuple[_Array, _Array]] = {}

    def metric(self, name: str, weights: _Array) -> _Array:
        """(times,) a metric for (times, rows, classes) weights, NaN where it does not exist.

        Those that are means take it that each row has a weight of 1 in all.
        """
        return _METRICS[name](self, weights)

    def ranked(self, label: int, weights: _Array) -> tuple[_Array, _Array]:
        """For the scores of a class, falling: (times, scores) the weight of rows of the class at or above each, and of
        the other rows."""
        import numpy as np

        if label not in self._order:
            order = np.argsort(-self.proba[:, label], kind="stable")
            self._order[label] = order, np.flatnonzero(np.append(np.diff(self.proba[order, label]) != 0, True))
        order, last = self._order[label]
        inside, whole = weights[:, order, label], weights[:, order].sum(axis=2)
        return np.cumsum(inside, axis=1)[:, last], np.cumsum(whole - inside, axis=1)[:, last]

    def mean(self, losses: _Array, weights: _Array) -> _Array:
        """(times,) the mean of (rows, classes) losses."""
        import numpy as np

        return np.einsum("trc,rc->t", weights, losses) / len(losses)

    def counts(self, weights: _Array) -> _Array:
        """(times, classes, classes + 1) rows of each class that were given each label; the last are of no class."""
        import numpy as np

        told = np.eye(self.classes + 1)[np.minimum(self.labels, self.classes)]
        return np.einsum("trc,rl->tcl", weights, told)


def _roc_auc(rows: Weighted, weights: _Array) -> _Array:
    """The area under the steps from score to score, by trapezoids; the mean over the classes if they are several."""
    import numpy as np

    found = []
    for label in rows._judged:
        hits, misses = rows.ranked(label, weights)
        area = (np.diff(misses, axis=1, prepend=0) * (hits + np.pad(hits, ((0, 0), (1, 0)))[:, :-1]) / 2).sum(axis=1)
        found.append(_ratio(area, hits[:, -1] * misses[:, -1]))
    return np.mean(found, axis=0)


def _average_precision(rows: Weighted, weights: _Array) -> _Array:
    """Σ (Rₖ - Rₖ₋₁) Pₖ over the scores, as scikit-learn defines it."""
    import numpy as np

    found = []
    for label in rows._judged:
        hits, misses = rows.ranked(label, weights)
        gained = np.diff(hits, axis=1, prepend=0) * hits / np.maximum(hits + misses, np.finfo(float).tiny)
        found.append(_ratio(gained.sum(axis=1), hits[:, -1]))
    return np.mean(found, axis=0)


def _log_loss(rows: Weighted, weights: _Array) -> _Array:
    import numpy as np

    least = np.finfo(rows.proba.dtype).eps
    clipped = np.clip(rows.proba, least, 1 - least)
    return rows.mean(-np.log(clipped / clipped.sum(axis=1, keepdims=True)), weights)


def _brier(rows: Weighted, weights: _Array) -> _Array:
    """Of two classes half of the squared distance, which is that of the positive class alone."""
    import numpy as np

    losses = ((rows.proba[:, None, :] - np.eye(rows.classes)) ** 2).sum(axis=2)
    return rows.mean(losses / 2 if rows.classes == 2 else losses, weights)


def _accuracy(rows: Weighted, weights: _Array) -> _Array:
    import numpy as np

    return rows.mean(np.equal.outer(rows.labels, np.arange(rows.classes)).astype(float), weights)


def of_counts(metric: str, counts: _Array) -> _Array:
    """(times,) precision, recall or F1 of (times, classes, classes + 1) counts of true against predicted class: of the
    second of two classes, else the mean over them; 0 where there is nothing to have a share in."""
    import numpy as np

    classes = counts.shape[1]
    judged = [1] if classes == 2 else list(range(classes))
    hits = counts[:, judged, judged].astype(float)
    told, true = counts.sum(axis=1)[:, judged], counts.sum(axis=2)[:, judged]
    whole = {"precision": told, "recall": true, "f1": (told + true) / 2}[metric]
    return np.divide(hits, whole, out=np.zeros_like(hits), where=whole > 0).mean(axis=1)


def _ratio(one: _Array, other: _Array) -> _Array:
    import numpy as np

    return np.divide(one, other, out=np.full_like(one, np.nan), where=other > 0)


_METRICS: dict[str, Callable[[Weighted, _Array], _Array]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _accuracy,
    "precision": lambda rows, weights: of_counts("precision", rows.counts(weights)),
    "recall": lambda rows, weights: of_counts("recall", rows.counts(weights)),
    "f1": lambda rows, weights: of_counts("f1", rows.counts(weights)),
}
