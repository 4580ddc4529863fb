"""Challenger and champion on the same holdout rows, by the same code, in one task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.ledger import views
from tidemill.records import DataVersion, Evaluation, Part, Run, Scores
from tidemill.steps import processing
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched
from tidemill.steps.ledger_io import record

if TYPE_CHECKING:
    import polars as pl

    from tidemill.steps.computing import Computation
    from tidemill.steps.scoring import Classified, Regressed
    from tidemill.tools.mlflow import Fetched, Mlflow
    from tidemill.tools.predictor import Predictor


def run(ctx: StepContext) -> Evaluation:
    """Score the run's model, and the champion if there is one, on the data version's holdout.

    A champion that cannot be scored on these rows is said so in ``not_comparable``; what that means is the
    gate's business.

    With ``monitor.estimate`` the holdout also teaches what the model's scores mean, which is kept with its run.

    Raises:
        StepWaits: a job computes it; call this again when that has ended.
        StepError: the challenger cannot be scored; the data or MLflow cannot be reached (``retry``).
    """
    from tidemill.steps import estimate
    from tidemill.tools.mlflow import open_mlflow

    mlflow = open_mlflow(ctx.connections, ctx.project)
    made = processing.compute(ctx, "evaluate", lambda: _prepared(ctx, mlflow), compute)
    evaluation, missing = Evaluation.from_json(made.value["evaluation"]), made.value["missing"]
    if made.value["calibration"] is not None:
        estimate.keep(mlflow, evaluation.run_id, made.output / made.value["calibration"])
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, views.EVALUATION, evaluation, extra={"missing": missing})
    for metric, why in missing.items():
        ctx.log.warning("%s does not exist for the trained model: %s", metric, why)
    _say(ctx, evaluation)
    return evaluation


def _prepared(ctx: StepContext, mlflow: Mlflow) -> Computation:
    from tidemill.steps.computing import Computation

    data, trained = ctx.result(DataVersion), ctx.result(Run)
    challenger = mlflow.fetch(trained.model_uri, name="the trained model")
    version, champion, why_not = _champion(ctx, mlflow, data.holdout)
    models = {"challenger": challenger, **({"champion": champion} if champion else {})}
    return Computation(
        spec=ctx.spec,
        root=ctx.project.root,
        inputs={"data": fetched(ctx, data), **{name: model.folder for name, model in models.items()}},
        facts={
            "data_version": data.version,
            "run_id": trained.run_id,
            "champion_version": version,
            "not_comparable": why_not,
            "called": {name: model.name for name, model in models.items()},
        },
        output=ctx.scratch("calibration"),
        log=ctx.log,
        keep=tuple(models.values()),
    )


def compute(given: Computation) -> Mapping[str, Any]:
    """The ``evaluation``, why metrics are ``missing``, and the file of the ``calibration`` if one was learned.

    Raises:
        StepError: the challenger cannot be scored.
    """
    import polars as pl

    from tidemill.steps.computing import model_of
    from tidemill.steps.scoring import score_with_reasons

    facts, asked = given.facts, given.spec.evaluate
    holdout = pl.read_parquet(given.inputs["data"] / "holdout.parquet")
    model = model_of(given, "challenger", called=facts["called"]["challenger"])
    challenger = score_with_reasons(model, holdout, asked)
    calibration = None
    if given.spec.monitor is not None and given.spec.monitor.estimate:
        calibration = _calibrate(given, model, holdout, challenger.rows)
    scores, why_not = _score_champion(given, holdout)
    evaluation = Evaluation(
        data_version=facts["data_version"],
        run_id=facts["run_id"],
        rows=holdout.height,
        challenger=challenger.scores,
        champion_version=facts["champion_version"],
        champion=scores,
        not_comparable=why_not,
    )
    return {"evaluation": evaluation.to_json(), "missing": challenger.missing, "calibration": calibration}


def _calibrate(given: Computation, model: Predictor, holdout: pl.DataFrame, rows: Classified | Regressed) -> str | None:
    """Learn what the holdout says of the model's scores, for estimates while labels are missing; the file's name."""
    from tidemill.steps import estimate
    from tidemill.steps.scoring import Classified, predicted

    if not isinstance(rows, Classified) or rows.proba is None:  # all metrics that were asked for are of labels
        rows = predicted(model, holdout, given.spec.evaluate.model_copy(update={"metrics": ["log_loss"]}))
    assert isinstance(rows, Classified)  # the spec's checks allow `estimate` for nothing else
    made = estimate.Calibration.learn(rows)
    if made is None:
        given.log.warning("no calibration: the holdout has fewer than two rows with a finite score")
        return None
    made.write(given.output / estimate.FILE)
    given.log.info("calibration (%s) learned from %s rows of the holdout", made.method, f"{made.rows:,}")
    return estimate.FILE


def _champion(ctx: StepContext, mlflow: Mlflow, part: Part) -> tuple[str | None, Fetched | None, str | None]:
    """The champion's version and model, or why it has none that could be compared."""
    with ctx.open_ledger() as ledger:
        entry = views.champion(ledger.entries(ctx.model, kinds={views.PROMOTION, views.ROLLBACK}))
    if entry is None:
        return None, None, None
    version = str(entry.body["version"])
    try:
        overlap = _overlap(mlflow.version_tags(ctx.model, version), version, part)
        if overlap is not None:
            return version, None, overlap
        return version, mlflow.fetch_version(ctx.model, version), None
    except StepError as error:
        if error.retry:
            raise
        return version, None, _unscorable(version, error)


def _score_champion(given: Computation, holdout: pl.DataFrame) -> tuple[Scores | None, str | None]:
    """The champion's scores, or why it has none."""
    from tidemill.steps.computing import model_of
    from tidemill.steps.scoring import score

    facts = given.facts
    if "champion" not in given.inputs:
        return None, facts["not_comparable"]
    try:
        champion = model_of(given, "champion", called=facts["called"]["champion"])
        return score(champion, holdout, given.spec.evaluate), None
    except StepError as error:
        if error.retry:
            raise
        return None, _unscorable(facts["champion_version"], error)


def _unscorable(version: str, error: StepError) -> str:
    return f"the champion, version {version}, cannot be scored on this holdout: {error}"


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
