"""What a model learned from and what it predicts, as sketches that later windows are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemill.records import DataVersion, Reference, Run
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched

if TYPE_CHECKING:
    import polars as pl

    from tidemill.drift.sketch import Sketch
    from tidemill.steps.scoring import Classified, Regressed
    from tidemill.tools.predictor import Predictor

FILE = "reference.sketch"
PREDICTIONS = "predictions.sketch"
ARTIFACTS = "tidemill"
"""The folder of a version's run in which both lie."""
PREDICTION = "prediction"
IMPORTANCES = "importances"
"""In the sketch's own notes: column → by how much the first of `evaluate.metrics` gets worse without it."""

_SAMPLE_ROWS = 5_000
_SHUFFLES = 3


def run(ctx: StepContext) -> Reference:
    """Summarise the training rows of the run's data version into ``<run folder>/reference/reference.sketch``.

    All columns but key and time are in it, the target too: which of them count is the monitor's to say, later. With a
    section ``score`` what the model predicts for the holdout is summarised, too: for rows that it did not learn from.
    With ``weights: importance`` the importance of each column is measured on the holdout and kept in the sketch.

    Raises:
        StepError: the data version cannot be fetched; the model cannot be loaded or fails on the holdout.
    """
    import dataclasses

    import polars as pl

    from tidemill.drift.errors import DriftError
    from tidemill.drift.summarise import summarise
    from tidemill.tools.mlflow import open_mlflow

    data, spec = ctx.result(DataVersion), ctx.spec
    rows = fetched(ctx, data)
    try:
        found = summarise(rows / "train.parquet", exclude={*spec.data.key, spec.data.window.column})
    except DriftError as error:
        raise StepError(f"the training rows cannot be summarised: {error}") from error
    weighted = bool(spec.monitor and spec.monitor.drift and spec.monitor.drift.weights == "importance")
    predictions = None
    folder = ctx.scratch("reference")
    if weighted or spec.score is not None:
        model = open_mlflow(ctx.connections, ctx.project).load_uri(ctx.result(Run).model_uri, name="the trained model")
        holdout = pl.read_parquet(rows / "holdout.parquet")
        if weighted:
            found = dataclasses.replace(found, meta={**found.meta, IMPORTANCES: importances(ctx, model, holdout)})
        if spec.score is not None:
            predictions = folder / PREDICTIONS
            predicted(ctx, model, holdout).write(predictions)
    path = folder / FILE
    found.write(path)
    ctx.log.info("summarised %d columns of %s training rows", len(found.columns), f"{found.rows:,}")
    return Reference(
        data_version=data.version,
        path=str(path),
        rows=found.rows,
        columns=len(found.columns),
        predictions=str(predictions) if predictions else None,
    )


def predicted(ctx: StepContext, model: Predictor, rows: pl.DataFrame) -> Sketch:
    """The distribution of what a model predicts for the rows."""
    import polars as pl

    from tidemill.drift.summarise import summarise_table
    from tidemill.steps.scoring import predicted as scored

    asked = ctx.spec.evaluate
    if asked.task == "classification":
        asked = asked.model_copy(update={"metrics": [*asked.metrics, "accuracy"]})
    return summarise_table(pl.DataFrame({PREDICTION: outputs(scored(model, rows, asked))}))


def outputs(rows: Classified | Regressed) -> Any:
    """What is compared of predictions: a regression's values, the probability of the positive one of two classes, else
    the class itself."""
    from tidemill.steps.scoring import Regressed

    if isinstance(rows, Regressed):
        return rows.values
    if rows.proba is not None and len(rows.classes) == 2:
        return rows.proba[:, 1]
    assert rows.labels is not None
    return [str(rows.classes[i]) if i < len(rows.classes) else None for i in rows.labels.tolist()]


def importances(ctx: StepContext, model: Predictor, holdout: pl.DataFrame) -> dict[str, float]:
    """Column → by how much the first metric of ``evaluate`` gets worse when the column's values are shuffled among the
    rows, in the metric's unit; 0 where it gets no worse. The mean of three shuffles of at most 5,000 rows.

    Permutation importance: L. Breiman, "Random Forests", Machine Learning 45, 2001, for any model.
    """
    import numpy as np

    from tidemill.spec.metrics import METRICS
    from tidemill.steps.scoring import score

    spec = ctx.spec
    metric = spec.evaluate.metrics[0]
    asked = spec.evaluate.model_copy(update={"metrics": [metric], "slices": []})
    rows = holdout.sample(min(_SAMPLE_ROWS, holdout.height), seed=spec.train.seed)
    best = score(model, rows, asked).metrics[metric]
    if best is None:
        ctx.log.warning("%s does not exist on the holdout, so no column has an importance", metric)
        return {}
    random = np.random.default_rng(spec.train.seed)
    sign = 1 if METRICS[metric].greater_is_better else -1
    found = {}
    for name in rows.columns:
        if name in (*spec.data.key, spec.data.window.column, spec.evaluate.target):
            continue
        lost = []
        for _ in range(_SHUFFLES):
            shuffled = rows.with_columns(rows[name].gather(random.permutation(rows.height)))
            value = score(model, shuffled, asked).metrics[metric]
            lost.append(0.0 if value is None else sign * (best - value))
        found[name] = max(0.0, float(np.mean(lost)))
    return found
