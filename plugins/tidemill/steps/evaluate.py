"""Challenger and champion on the same holdout rows, by the same code, in one task."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.ledger import views
from tidemill.records import DataVersion, Evaluation, Part, Run, Scores
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched
from tidemill.steps.ledger_io import record

if TYPE_CHECKING:
    import polars as pl

    from tidemill.steps.scoring import Classified, Regressed
    from tidemill.tools.mlflow import Mlflow
    from tidemill.tools.predictor import Predictor


def run(ctx: StepContext) -> Evaluation:
    """Score the run's model, and the champion if there is one, on the data version's holdout.

    A champion that cannot be scored on these rows is said so in ``not_comparable``; what that means is the
    gate's business.

    With ``monitor.estimate`` the holdout also teaches what the model's scores mean, which is kept with its run.

    Raises:
        StepError: the challenger cannot be scored; the data or MLflow cannot be reached (``retry``).
    """
    import polars as pl

    from tidemill.steps.scoring import score_with_reasons
    from tidemill.tools.mlflow import open_mlflow

    data, trained = ctx.result(DataVersion), ctx.result(Run)
    mlflow = open_mlflow(ctx.connections, ctx.project)
    holdout = pl.read_parquet(fetched(ctx, data) / "holdout.parquet")
    model = mlflow.load_uri(trained.model_uri, name="the trained model")
    challenger = score_with_reasons(model, holdout, ctx.spec.evaluate)
    for metric, why in challenger.missing.items():
        ctx.log.warning("%s does not exist for the trained model: %s", metric, why)
    if ctx.spec.monitor is not None and ctx.spec.monitor.estimate:
        _calibrate(ctx, mlflow, trained.run_id, model, holdout, challenger.rows)
    version, scores, why_not = _champion(ctx, mlflow, holdout, data.holdout)
    evaluation = Evaluation(
        data_version=data.version,
        run_id=trained.run_id,
        rows=holdout.height,
        challenger=challenger.scores,
        champion_version=version,
        champion=scores,
        not_comparable=why_not,
    )
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, views.EVALUATION, evaluation, extra={"missing": challenger.missing})
    _say(ctx, evaluation)
    return evaluation


def _calibrate(
    ctx: StepContext, mlflow: Mlflow, run_id: str, model: Predictor, holdout: pl.DataFrame, rows: Classified | Regressed
) -> None:
    """Keep what the holdout says of the model's scores, for estimates while labels are missing."""
    from tidemill.steps import estimate
    from tidemill.steps.scoring import Classified, predicted

    if not isinstance(rows, Classified) or rows.proba is None:  # all metrics that were asked for are of labels
        rows = predicted(model, holdout, ctx.spec.evaluate.model_copy(update={"metrics": ["log_loss"]}))
    assert isinstance(rows, Classified)  # the spec's checks allow `estimate` for nothing else
    estimate.learn(ctx, mlflow, run_id, rows)


def _champion(
    ctx: StepContext, mlflow: Mlflow, holdout: pl.DataFrame, part: Part
) -> tuple[str | None, Scores | None, str | None]:
    """The champion's version, its scores, and why it has none."""
    from tidemill.steps.scoring import score

    with ctx.open_ledger() as ledger:
        entry = views.champion(ledger.entries(ctx.model, kinds={views.PROMOTION, views.ROLLBACK}))
    if entry is None:
        return None, None, None
    version = str(entry.body["version"])
    try:
        overlap = _overlap(mlflow.version_tags(ctx.model, version), version, part)
        if overlap is not None:
            return version, None, overlap
        return version, score(mlflow.load(ctx.model, version), holdout, ctx.spec.evaluate), None
    except StepError as e:
        if e.retry:
            raise
        return version, None, f"the champion, version {version}, cannot be scored on this holdout: {e}"


def _overlap(tags: dict[str, str], version: str, part: Part) -> str | None:
    """Why a champion may know the holdout's rows already; ``None`` if it does not."""
    try:
        start, end = (datetime.fromisoformat(tags[f"tidemill.train_{edge}"]) for edge in ("start", "end"))
    except (KeyError, ValueError):
        return f"version {version} does not say which rows it was trained on (tags tidemill.train_start and _end)"
    if start < part.end and part.start < end:
        return (
            f"version {version} was trained on rows from {start.isoformat()} to {end.isoformat()}, which overlap "
            f"the holdout from {part.start.isoformat()} to {part.end.isoformat()}"
        )
    return None


def _say(ctx: StepContext, evaluation: Evaluation) -> None:
    def shown(metrics: Any) -> str:
        return ", ".join(f"{k} {'none' if v is None else format(v, '.6g')}" for k, v in metrics.items())

    ctx.log.info("challenger on %s rows: %s", f"{evaluation.rows:,}", shown(evaluation.challenger.metrics))
    if evaluation.champion is not None:
        ctx.log.info("champion, version %s: %s", evaluation.champion_version, shown(evaluation.champion.metrics))
    elif evaluation.not_comparable is not None:
        ctx.log.warning("champion not comparable: %s", evaluation.not_comparable)
