"""What a classification's metrics probably are while labels are missing: estimated from calibrated scores.

The holdout teaches, when a model is evaluated, how often a score came true (its calibration). In a later window each
row's calibrated probabilities say how much it counts as a row of each class, and a metric of the rows so weighted is
the metric to be expected (confidence-based performance estimation: Białek, Kuberski, Perrakis & Bifet 2024,
arXiv:2401.08348). It holds as long as equal scores come true equally often: when the rows change (covariate shift),
not when what they mean changes (concept drift). So it is no measurement, and gives no alarm.

The stated error has two parts: labels are drawn from the calibrated probabilities, as true ones would be; and the
calibration was learned from a finite holdout, which is drawn again (the bootstrap). Both are taken as normal.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.records import Estimate, Interval, MonitorReport
from tidemill.spec.monitoring import Monitor
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.performance import CONFIDENCE, Recorded, logged_in, metrics_of, window_rows
from tidemill.steps.weighted import Weighted

if TYPE_CHECKING:
    from tidemill.steps.computing import Models
    from tidemill.steps.scoring import Classified
    from tidemill.tools.mlflow import Mlflow
    from tidemill.tools.predictor import Label

_Array = Any
Method = Literal["isotonic", "sigmoid"]

FILE = "calibration.json"
ARTIFACT = f"tidemill/{FILE}"
"""Where a version's calibration lies in its run."""

_FORMAT = 1
_ISOTONIC_FROM = 500
"""Rows of the rarer class from which a free curve is learned; scikit-learn advises against it for few rows."""
_KNOTS = 129
_AGAIN = 20
"""Times that the calibration is learned from the holdout drawn again."""
_DRAWS = 60
_MOST_ROWS = 5_000
_SEED = 20130701
_Z = 1.959964


@dataclass(frozen=True)
class Calibration:
    """How often a class came true, by its score: a curve for each class, and the same from resamples of the holdout.

    ``knots``: for each class some scores, rising; ``curves``: for each class (1 + resamples, knots) shares at these,
    the first of the holdout itself. Between knots it is linear.
    """

    classes: list[Label]
    method: Method
    rows: int
    knots: list[_Array]
    curves: list[_Array]

    @classmethod
    def learn(cls, scored: Classified) -> Calibration | None:
        """The calibration of a model on the holdout that it was evaluated on; ``None`` if that has fewer than two
        rows with a finite score.

        Isotonic regression (Zadrozny & Elkan 2002) of each class against the rest where the holdout has 500 rows of
        it and as many others, else a sigmoid of the score's logit (Platt 1999).
        """
        import numpy as np

        assert scored.proba is not None
        finite = np.isfinite(scored.proba).all(axis=1)
        proba, truth, classes = np.clip(scored.proba[finite], 0, 1), scored.truth[finite], len(scored.classes)
        if len(proba) < 2:
            return None
        inside = truth[:, None] == np.arange(classes)
        rarer = min(int(min(column.sum(), (~column).sum())) for column in inside.T)
        method: Method = "isotonic" if rarer >= _ISOTONIC_FROM else "sigmoid"
        fit = _isotonic if method == "isotonic" else _sigmoid
        draw = np.random.default_rng(_SEED)
        samples = [np.arange(len(proba)), *(draw.integers(0, len(proba), len(proba)) for _ in range(_AGAIN))]
        knots = [_knots(proba[:, c]) for c in range(classes)]
        curves = [np.array([fit(proba[at, c], inside[at, c], knots[c]) for at in samples]) for c in range(classes)]
        return cls(list(scored.classes), method, len(proba), knots, curves)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        value = {
            "format": _FORMAT,
            "classes": self.classes,
            "method": self.method,
            "rows": self.rows,
            "knots": [each.round(9).tolist() for each in self.knots],
            "curves": [each.round(6).tolist() for each in self.curves],
        }
        path.write_text(json.dumps(value), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read what ``write`` wrote.

        Raises:
            StepError: it is damaged, or of another version of Tidemill.
        """
        import numpy as np

        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("format") != _FORMAT:
                raise ValueError("another format")
            for name in ("knots", "curves"):
                value[name] = [np.array(each) for each in value[name]]
            return cls(**value)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
            raise StepError(f"the calibration {path} cannot be read: {e}") from e

    def apply(self, proba: _Array, curve: int = 0) -> _Array:
        """(rows, classes) calibrated probabilities, which add up to 1, of (rows, classes) scores."""
        import numpy as np

        found = np.stack(
            [np.interp(proba[:, c], self.knots[c], self.curves[c][curve]) for c in range(len(self.classes))], axis=1
        )
        whole = found.sum(axis=1, keepdims=True)
        return np.divide(found, whole, out=np.full_like(found, 1 / len(self.classes)), where=whole > 0)


def keep(mlflow: Mlflow, run_id: str, path: Path) -> None:
    """Keep a model's calibration, learned from its evaluation, with its run.

    Raises:
        StepError: MLflow cannot be reached (``retry``).
    """
    mlflow.log_artifact(run_id, path, ARTIFACT.rpartition("/")[0])


def judge(ctx: StepContext, settings: Monitor, report: MonitorReport, mlflow: Models) -> MonitorReport:
    """The report with an estimate for its own window, if performance was not measured on that.

    Raises:
        StepError: the rows cannot be read; the model cannot be loaded or fails on them; MLflow is out of reach.
    """
    measured = report.performance
    if measured is not None and (measured.start, measured.end) == (report.start, report.end):
        return report
    logged = logged_in(ctx, report.start, report.end)
    frame = logged.frame if logged else window_rows(ctx, report.start, report.end)
    version = logged.version if logged else report.version
    if version is None or frame.height < settings.min_rows:
        few = f"{frame.height:,} rows, min_rows is {settings.min_rows:,}"
        return _with(report, f"performance is not estimated: the window has {few}")
    try:
        calibration = Calibration.read(mlflow.download(ctx.model, version, ARTIFACT))
    except StepError as error:
        if error.retry:
            raise
        why = f"version {version} has no calibration; one is learned when a model is trained with monitor.estimate"
        return _with(report, f"performance is not estimated: {why}")
    predictor = Recorded(f"the log of version {version}", logged.classes) if logged else mlflow.load(ctx.model, version)
    names = metrics_of(ctx, settings).metrics
    rows = frame.drop(ctx.spec.evaluate.target, strict=False).to_pandas()
    proba = predictor.probabilities(rows, calibration.classes)
    index = {label: i for i, label in enumerate(calibration.classes)}
    labels = _array([index.get(v, len(index)) for v in predictor.labels(rows, calibration.classes)])
    found = estimated(names, proba, labels, calibration)
    if isinstance(found, str):
        return _with(report, f"performance is not estimated: {found}")
    values, intervals = found
    made = Estimate(
        version=version,
        metrics=values,
        intervals=intervals,
        start=report.start,
        end=report.end,
        rows=len(proba),
        calibration=calibration.method,
    )
    return _with(dataclasses.replace(report, estimate=made), told(made))


def told(estimate: Estimate) -> str:
    """An estimate in a sentence that calls it one."""
    ends = {interval.metric: interval for interval in estimate.intervals}
    values = [
        f"{metric} {value:.4g}" + (f" ({ends[metric].low:.4g} to {ends[metric].high:.4g})" if metric in ends else "")
        for metric, value in estimate.metrics.items()
        if value is not None
    ]
    span = f"{format_instant(estimate.start)} to {format_instant(estimate.end)}"
    return (
        f"estimated without labels for {span}, version {estimate.version}, if scores mean what they did: "
        f"{', '.join(values) or 'nothing'}; an estimate gives no alarm"
    )


def estimated(
    names: Sequence[str], proba: _Array, labels: _Array, calibration: Calibration
) -> tuple[dict[str, float | None], tuple[Interval, ...]] | str:
    """The metrics to be expected of rows with these scores, with intervals at 95%; or why there are none.

    Args:
        names: the metrics.
        proba: (rows, classes) scores.
        labels: (rows,) the index of each predicted class.
        calibration: the version's.
    """
    import numpy as np

    bad = int((~np.isfinite(proba).all(axis=1)).sum())
    if bad:
        return f"the model gave NaN or infinity for {bad:,} of {len(proba):,} rows"
    draw = np.random.default_rng(_SEED)
    some = draw.choice(len(proba), min(len(proba), _MOST_ROWS), replace=False)
    scale = math.sqrt(len(some) / len(proba))
    weights, rows = calibration.apply(proba), Weighted(proba[some], labels[some])
    taught = np.stack([calibration.apply(proba[some], curve) for curve in range(1, len(calibration.curves[0]))])
    drawn = _labels(weights[some], draw)
    whole = Weighted(proba, labels)
    values: dict[str, float | None] = {}
    intervals = []
    for name in names:
        value = float(whole.metric(name, weights[None])[0])
        values[name] = value if math.isfinite(value) else None
        half = _Z * math.hypot(_deviation(rows.metric(name, taught)), scale * _deviation(rows.metric(name, drawn)))
        if math.isfinite(value) and math.isfinite(half):
            least, most = _range(name)
            low, high = max(least, value - half), min(most, value + half)
            intervals.append(Interval(metric=name, low=low, high=high, confidence=CONFIDENCE, method="calibration"))
    return values, tuple(intervals)


def _labels(weights: _Array, draw: Any) -> _Array:
    """(times, rows, classes) 1 for the class that was drawn for a row by its chances."""
    import numpy as np

    edges = weights.cumsum(axis=1)[:, :-1]
    classes = (draw.random((_DRAWS, len(weights)))[:, :, None] > edges).sum(axis=2)
    return np.eye(weights.shape[1])[classes]


def _deviation(values: _Array) -> float:
    """The standard deviation, infinite if half of the values do not exist."""
    import numpy as np

    known = values[np.isfinite(values)]
    return float(np.std(known, ddof=1)) if len(known) > len(values) / 2 and len(known) > 1 else math.inf


def _range(metric: str) -> tuple[float, float]:
    return (0.0, math.inf) if metric == "log_loss" else (0.0, 2.0 if metric == "brier" else 1.0)


def _knots(scores: _Array) -> _Array:
    import numpy as np

    return np.unique(np.concatenate([[0.0], np.quantile(scores, np.linspace(0, 1, _KNOTS)), [1.0]]))


def _isotonic(scores: _Array, inside: _Array, knots: _Array) -> _Array:
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, inside).predict(knots)


def _sigmoid(scores: _Array, inside: _Array, knots: _Array) -> _Array:
    """Platt's sigmoid, with his targets that keep it from certainty, of the logit (so that it can be the identity)."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    positives, negatives = int(inside.sum()), int((~inside).sum())
    if not positives or not negatives:
        return np.full(len(knots), float(positives > 0))
    sure = np.where(inside, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=1e6, max_iter=1000)
    features = np.tile(_logit(scores), 2)[:, None]
    truth = np.repeat([1, 0], len(scores))
    model.fit(features, truth, sample_weight=np.concatenate([sure, 1 - sure]))
    return model.predict_proba(_logit(knots)[:, None])[:, 1]


def _logit(scores: _Array) -> _Array:
    import numpy as np

    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def _array(values: Sequence[int]) -> _Array:
    import numpy as np

    return np.array(values)


def _with(report: MonitorReport, why: str) -> MonitorReport:
    return dataclasses.replace(report, why=(*report.why, why))
