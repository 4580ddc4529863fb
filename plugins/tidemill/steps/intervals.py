"""Confidence intervals of the metrics, each by a method that suits it.

| metric | method |
| --- | --- |
| ``roc_auc`` | DeLong's variance, on the logit scale |
| ``accuracy``; of two classes ``precision``, ``recall``, ``f1`` | Wilson's interval of a proportion |
| ``brier``, ``log_loss``, ``mae`` | the mean of a loss, with Student's t |
| the others | the percentile bootstrap |

Rows are taken as independent. Nothing here draws at random but by a fixed seed: the same rows give the same interval.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.steps.weighted import Weighted, of_counts

_Array = Any

_RESAMPLES = 1000
_MOST_RESAMPLES = 10_000
_MOST_ROWS = 20_000
_AT_ONCE = 2_000_000
"""Weights that are held at a time when rows are drawn again."""
_SEED = 20130701


@dataclass(frozen=True)
class Bounds:
    """The two ends of an interval, and the name of the method."""

    low: float
    high: float
    method: str


def of_classification(
    metric: str, value: float, truth: _Array, given: _Array, classes: int, confidence: float
) -> Bounds | None:
    """The interval of a classification's metric; ``None`` where the rows do not allow one.

    Args:
        metric: its name.
        value: its value on the rows.
        truth: (rows,) the index of each row's class.
        given: (rows, classes) probabilities, or (rows,) the index of the predicted class, as the metric needs.
        classes: how many there are.
        confidence: the level, e.g. 0.95.
    """
    import numpy as np

    if metric == "roc_auc":
        return _auc(value, truth, given, classes, confidence)
    if metric == "accuracy":
        return _wilson(int((truth == given).sum()), len(truth), confidence)
    if metric == "brier":
        squared = ((given - np.eye(classes)[truth]) ** 2).sum(axis=1)
        return _mean(squared / 2 if classes == 2 else squared, confidence)
    if metric == "log_loss":
        return _mean(log_losses(truth, given), confidence)
    if metric == "average_precision":
        return _average_precision(value, truth, given, classes, confidence)
    counts = np.zeros((classes, classes + 1))
    np.add.at(counts, (truth, np.minimum(given, classes)), 1)
    return _of_labels(metric, value, counts, confidence)


def of_regression(metric: str, value: float, truth: _Array, values: _Array, confidence: float) -> Bounds | None:
    """The interval of a regression's metric; ``None`` where the rows do not allow one.

    Args:
        metric: its name.
        value: its value on the rows.
        truth: (rows,) the true values.
        values: (rows,) the predicted ones.
        confidence: the level.
    """
    import numpy as np

    error = np.abs(truth - values)
    if metric == "mae":
        return _mean(error, confidence)
    if metric == "rmse":
        return _bootstrap(value, [error**2], lambda means: np.sqrt(means[0]), confidence)
    if metric == "mape":
        return _bootstrap(value, [error / np.maximum(np.abs(truth), np.finfo(float).eps)], lambda m: m[0], confidence)
    middle = truth - truth.mean()

    def r2(means: _Array) -> _Array:
        spread = means[1] - means[2] ** 2
        return 1 - np.divide(means[0], spread, out=np.full_like(spread, np.nan), where=spread > 0)

    return _bootstrap(value, [error**2, middle**2, middle], r2, confidence)


def log_losses(truth: _Array, proba: _Array) -> _Array:
    """(rows,) the loss of each row, whose mean is scikit-learn's ``log_loss``."""
    import numpy as np

    least = np.finfo(proba.dtype).eps
    clipped = np.clip(proba, least, 1 - least)
    return -np.log((clipped / clipped.sum(axis=1, keepdims=True))[np.arange(len(truth)), truth])


def _z(confidence: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(0.5 + confidence / 2))


def _mean(losses: _Array, confidence: float) -> Bounds | None:
    """Mean ± t·s/√n (Student 1908); by the central limit theorem for losses that are not normal."""
    from scipy.stats import t

    n = len(losses)
    if n < 2:
        return None
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * float(losses.std(ddof=1)) / math.sqrt(n)
    mean = float(losses.mean())
    return Bounds(max(0.0, mean - half), mean + half, "mean")  # no loss is negative


def _wilson(hits: int, of: int, confidence: float) -> Bounds | None:
    """The score interval of a proportion (Wilson 1927): unlike the plain one it does not vanish at 0 and 1."""
    from scipy.stats import binomtest

    if of < 1:
        return None
    found = binomtest(hits, of).proportion_ci(confidence, method="wilson")
    return Bounds(float(found.low), float(found.high), "wilson")


def _auc(value: float, truth: _Array, proba: _Array, classes: int, confidence: float) -> Bounds | None:
    """DeLong, DeLong & Clarke-Pearson (1988), with the ranks of Sun & Xu (2014), on the logit scale (Pepe 2003, 5.2),
    on which an area near 1 has an interval that is not symmetric and does not pass 1.

    Of more than two classes each row's share in the mean of the areas of one against the rest is the mean of its
    shares in each, and the variance of the mean is theirs.
    """
    import numpy as np

    shares = np.zeros(len(truth))
    judged = [1] if classes == 2 else range(classes)
    least = len(truth)
    for label in judged:
        inside = truth == label
        positives, negatives = int(inside.sum()), int((~inside).sum())
        least = min(least, positives, negatives)
        if min(positives, negatives) < 2:
            return None  # one row says nothing of how others of its class would rank
        shares += _delong(proba[:, label], inside) / len(judged)
    variance = float((shares**2).sum())
    if variance <= 0 or not 0 < value < 1:
        # All pairs are ranked alike, and the variance says nothing. `least` pairs have no row in common: of so many
        # independent ones none was otherwise (Clopper & Pearson 1934).
        edge = (0.5 - confidence / 2) ** (1 / least)
        return Bounds(edge if value >= 1 else 0.0, 1.0 if value >= 1 else 1 - edge, "delong")
    half = _z(confidence) * math.sqrt(variance) / (value * (1 - value))
    middle = math.log(value / (1 - value))
    return Bounds(_expit(middle - half), _expit(middle + half), "delong")


def _delong(scores: _Array, positive: _Array) -> _Array:
    """(rows,) each row's share in the deviation of the area under the curve: the sum of squares is its variance."""
    import numpy as np
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)
    found = np.empty(len(scores))
    above = (ranks[positive] - rankdata(scores[positive])) / n  # of each positive row: the negatives below it
    below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m  # of each negative row: the positives above it
    found[positive] = (above - above.mean()) / math.sqrt(m * (m - 1))
    found[~positive] = (below - below.mean()) / math.sqrt(n * (n - 1))
    return found


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _of_labels(metric: str, value: float, counts: _Array, confidence: float) -> Bounds | None:
    """Precision, recall and F1, from the counts of true against predicted class, (classes, classes + 1).

    Of two classes precision and recall are proportions, given what was predicted and what is. So is
    F* = TP / (TP + FP + FN), and F1 = 2 F* / (1 + F*) grows with it (Hand, Christen & Kirielle 2021). The mean over
    more classes is drawn again from the multinomial distribution of the counts, which is the bootstrap of the rows.
    """
    import numpy as np

    classes = len(counts)
    if classes > 2:

        def again(draw: np.random.Generator, times: int) -> _Array:
            n = int(counts.sum())
            drawn = draw.multinomial(n, (counts / n).ravel(), size=times)
            return of_counts(metric, drawn.reshape(times, classes, classes + 1))

        return _percentiles(value, value, again, int(counts.sum()), 1.0, confidence)
    hits, missed, wrong = counts[1, 1], counts[1].sum() - counts[1, 1], counts[0, 1]
    of = {"precision": hits + wrong, "recall": hits + missed, "f1": hits + wrong + missed}[metric]
    found = _wilson(int(hits), int(of), confidence)
    if found is None or metric != "f1":
        return found
    return Bounds(2 * found.low / (1 + found.low), 2 * found.high / (1 + found.high), found.method)


def _bootstrap(
    value: float, columns: list[_Array], statistic: Callable[[_Array], _Array], confidence: float
) -> Bounds | None:
    """The percentile bootstrap (Efron & Tibshirani 1993, 13.3) of a function of means over the rows.

    ``statistic`` takes (columns, times) means. Above 20,000 rows so many are drawn once, and the deviations of their
    resamples scaled by √(m/n), as for samples of m of n rows (Bickel, Götze & van Zwet 1997).
    """
    import numpy as np

    table = np.stack(columns, axis=1)
    table, scale = _fewer(table)
    middle = float(statistic(table.mean(axis=0)[:, None])[0])

    def again(draw: np.random.Generator, times: int) -> _Array:
        return statistic((_weights(draw, times, len(table)) @ table / len(table)).T)

    return _percentiles(value, middle, again, len(table), scale, confidence)


def _average_precision(value: float, truth: _Array, proba: _Array, classes: int, confidence: float) -> Bounds | None:
    """As :func:`_bootstrap`: a resample is a weight for each row, so that they are sorted by score once."""
    import numpy as np

    table, scale = _fewer(np.column_stack([truth, proba]))
    rows, inside = Weighted(table[:, 1:], table[:, 0].astype(int)), np.eye(classes)[table[:, 0].astype(int)]

    def of(weights: _Array) -> _Array:
        return rows.metric("average_precision", weights[:, :, None] * inside)

    middle = float(of(np.ones((1, len(table))))[0])

    def again(draw: np.random.Generator, times: int) -> _Array:
        return of(_weights(draw, times, len(table)))

    return _percentiles(value, middle, again, len(table), scale, confidence)


def _fewer(table: _Array) -> tuple[_Array, float]:
    """At most ``_MOST_ROWS`` rows, and the factor for the deviations of their resamples."""
    import numpy as np

    n = len(table)
    if n <= _MOST_ROWS:
        return table, 1.0
    kept = np.random.default_rng(_SEED).choice(n, _MOST_ROWS, replace=False, shuffle=False)
    return table[kept], math.sqrt(_MOST_ROWS / n)


def _weights(draw: Any, times: int, rows: int) -> _Array:
    """(times, rows) how often each row is drawn."""
    import numpy as np

    drawn = draw.integers(0, rows, size=(times, rows)) + np.arange(times)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=times * rows).reshape(times, rows).astype(float)


def _percentiles(
    value: float, middle: float, again: Callable[[Any, int], _Array], rows: int, scale: float, confidence: float
) -> Bounds | None:
    """The percentiles of resamples, moved from the sample's ``middle`` to the ``value`` of all rows.

    They are taken a little further out, by the ratio of Student's t to the normal distribution and of n to n - 1:
    plain ones are too narrow for few rows (Hesterberg 2015, "expanded percentile interval").
    """
    import numpy as np
    from scipy.stats import norm, t

    if rows < 2:
        return None
    times = min(_MOST_RESAMPLES, max(_RESAMPLES, math.ceil(40 / (1 - confidence))))
    draw = np.random.default_rng(_SEED)
    step = max(1, _AT_ONCE // rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = np.concatenate([again(draw, min(step, times - done)) for done in range(0, times, step)])
    found = found[np.isfinite(found)]
    if len(found) < times / 2:
        return None
    share = float(norm.cdf(-math.sqrt(rows / (rows - 1)) * t.ppf(0.5 + confidence / 2, rows - 1)))
    low, high = np.quantile(found, [share, 1 - share])
    return Bounds(value + (float(low) - middle) * scale, value + (float(high) - middle) * scale, "bootstrap")
