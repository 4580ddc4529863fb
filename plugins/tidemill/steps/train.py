"""The user's training function, run as a job and tracked as an MLflow run that a retry goes on with."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tidemill.ledger import LedgerError, views
from tidemill.locks import Taken, held
from tidemill.platforms.ports import Job, JobError
from tidemill.records import Cost, DataVersion, Run
from tidemill.runtime.files import BadFile, Result, result_of
from tidemill.steps import remote_training
from tidemill.steps.code import code_version, git_commit
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched
from tidemill.steps.intent import recall
from tidemill.steps.ledger_io import record
from tidemill.steps.policy.money import cost_of

if TYPE_CHECKING:
    import pandas as pd

    from tidemill.tools.mlflow import Mlflow, TrackedRun

_SAMPLE_ROWS = 1000
_NAME_DIGITS = 8


def run(ctx: StepContext) -> Run:
    """Train once for the DAG run: what an earlier attempt finished is taken, not made again.

    What the function wrote under ``context.output`` beside the model is kept as the run's artifacts ``output/``.

    An attempt can end anywhere. A finished tracked run with the same data, code, spec and seed is adopted; a
    training that finished but was not logged is logged from what it left; else the function is called, here or as a
    job on the platform's service, which a cleared task pays for anew (:mod:`tidemill.steps.remote`). What the
    training cost is recorded once, however many attempts it takes to log it; an attempt that makes no model is paid
    for, too.

    Raises:
        StepWaits: the job runs; call this again when it has ended.
        StepError: the function failed (``retry`` if that was not its own fault); the model cannot be loaded or
            cannot predict; the data or MLflow cannot be reached (``retry``).
    """
    from tidemill.tools.mlflow import open_mlflow

    data = ctx.result(DataVersion)
    same: Mapping[str, str] | None = None
    if _remote(ctx):
        ctx, same = remote_training.as_begun(ctx)
    if same is None:
        same = _facts(ctx, data)
    with _alone(ctx):
        mlflow = open_mlflow(ctx.connections, ctx.project)
        tracked = mlflow.start_or_resume_run(
            experiment=ctx.pipeline,
            name=f"{ctx.pipeline} {ctx.as_of.instant:%Y-%m-%d %H:%M}",
            dag_id=ctx.dag_id,
            dag_run=ctx.run_id,
            same=same,
            tags=_tags(ctx),
        )
        ctx.links["mlflow"] = link = mlflow.run_link(tracked.run_id) or ""
        place = _Place.of(ctx, same)
        if not tracked.finished:
            tracked = _train(ctx, mlflow, tracked, data, place, same)
        else:
            ctx.log.info("run %s has trained this already", tracked.run_id)
        trained = _record(ctx, tracked, same)
        _charge(ctx, place, trained.seconds)
        with ctx.open_ledger() as ledger:
            record(ledger, ctx, views.RUN, trained)
    ctx.log.info("run %s%s", trained.run_id, f": {link}" if link else "")
    return trained


def _facts(ctx: StepContext, data: DataVersion) -> dict[str, str]:
    """What tells this training from others: attempts with the same facts share a run and a place."""
    same = {
        "tidemill.data_version": data.version,
        "tidemill.code_version": code_version(ctx.project.root),
        "tidemill.spec_hash": ctx.spec_hash,
        "tidemill.seed": str(ctx.spec.train.seed),
    }
    if ctx.spec.train.requirements is not None:
        try:
            content = ctx.project.path(ctx.spec.train.requirements).read_bytes()
        except OSError as error:
            raise StepError(f"train.requirements: {ctx.spec.train.requirements}: {error.strerror}") from None
        same["tidemill.requirements"] = hashlib.sha256(content).hexdigest()[:_NAME_DIGITS]
    if _remote(ctx) and ctx.cleared:
        # Somebody cleared the task: a job costs money, so that another one is trained only for who asks for it.
        same["tidemill.cleared"] = str(ctx.cleared)
    return same


@dataclass(frozen=True)
class _Place:
    """Where one training happens: attempts with the same data, code, spec and seed share it."""

    folder: Path

    @classmethod
    def of(cls, ctx: StepContext, same: Mapping[str, str]) -> _Place:
        digest = hashlib.sha256("\n".join(same.values()).encode()).hexdigest()[:_NAME_DIGITS]
        return cls(ctx.scratch("train") / digest)

    @property
    def output(self) -> Path:
        """What the job fills."""
        return self.folder / "output"

    @property
    def checkpoint(self) -> Path:
        """What survives attempts."""
        return self.folder / "checkpoint"

    def finished(self) -> Result | None:
        """The result of a job that ended well here."""
        try:
            result = Result.read(result_of(self.output))
        except BadFile:
            return None
        return result if result.failure is None and result.model is not None else None


def _remote(ctx: StepContext) -> bool:
    return ctx.spec.platform.provider != "local"


def _train(
    ctx: StepContext, mlflow: Mlflow, tracked: TrackedRun, data: DataVersion, place: _Place, same: Mapping[str, str]
) -> TrackedRun:
    def fetch() -> Path:
        return fetched(ctx, data)

    try:
        result = place.finished()
        if result is not None:
            ctx.log.info("an earlier attempt trained this; its model is logged now")
        elif _remote(ctx):
            result = _run_remote(ctx, place, data, fetch, same)
        else:
            result = _run_job(ctx, place, fetch())
        folder = fetch()
        _charge(ctx, place, result.seconds)
        mlflow.log(tracked.run_id, ctx.spec.train.params, result.metrics)
        if _remote(ctx):
            remote_training.track(ctx, result.last())
        _log_model(ctx, mlflow, tracked, result, place, folder)
        for path in sorted(place.output.iterdir()):
            if path.name != Path(str(result.model)).parts[0]:
                mlflow.log_artifact(tracked.run_id, path, "output")
        mlflow.tag_run(tracked.run_id, {"tidemill.seconds": repr(result.seconds)})
        mlflow.end_run(tracked.run_id)
    except StepError:
        with contextlib.suppress(StepError):  # the error is the news, not that MLflow could not be told of it
            mlflow.end_run(tracked.run_id, failed=True)
        raise
    shutil.rmtree(place.folder, ignore_errors=True)
    return mlflow.tracked(tracked.run_id)


def _run_remote(
    ctx: StepContext, place: _Place, data: DataVersion, fetch: Callable[[], Path], same: Mapping[str, str]
) -> Result:
    remote_training.train(ctx, place.folder, data, fetch, same)
    result = place.finished()
    if result is None:
        raise StepError(
            "the job succeeded, and what it left is not in the store: were its output or result deleted? "
            "Clear this task to train again.",
        )
    return result


def _run_job(ctx: StepContext, place: _Place, folder: Path) -> Result:
    shutil.rmtree(place.output, ignore_errors=True)
    train = ctx.spec.train
    job = Job(
        name=f"{ctx.dag_id}-{ctx.run_id}-{ctx.task_id}-{ctx.try_number}",
        code=train.code,
        root=ctx.project.root,
        train=folder / "train.parquet",
        holdout=folder / "holdout.parquet",
        output=place.output,
        checkpoint=place.checkpoint,
        params=train.params,
        seed=train.seed,
        resources=train.resources,
        timeout=train.timeout,
        requirements=None if train.requirements is None else ctx.project.path(train.requirements),
    )
    began, done = time.monotonic(), False
    try:
        ctx.jobs.run(job, ctx.log.info)
        result = Result.read(result_of(place.output))
        done = True
        return result
    except JobError as e:
        if e.detail:
            ctx.log.error("%s", e.detail.rstrip())
        raise StepError(str(e), retry=not e.user) from None
    except BadFile as e:
        raise StepError(f"the job left no result that can be read: {e}", retry=True) from None
    finally:
        if not done and place.finished() is None:  # else the attempt that logs the model records its cost
            _charge_lost(ctx, place, time.monotonic() - began)


def _charge(ctx: StepContext, place: _Place, seconds: float, outcome: Literal["trained", "failed"] = "trained") -> None:
    """Record what a training cost, where the platform has a price. The same training has the same entry: it is told
    by its data, code, spec and seed, and by the time that the job itself measured."""
    job = recall(ctx) if _remote(ctx) else None
    price = (ctx.spec.platform if job is None else job.where.platform).price
    if price is None:
        return
    amount = cost_of(price, seconds)
    cost = Cost(
        training=place.folder.name,
        outcome=outcome,
        seconds=seconds,
        price=f"{price} per hour",
        amount=f"{amount.amount:f}",
        currency=amount.currency,
    )
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, views.COST, cost)
    ctx.log.info("this training cost %s", amount)


def _charge_lost(ctx: StepContext, place: _Place, seconds: float) -> None:
    """Record what an attempt cost that failed or was stopped; that it failed is the news, so this raises nothing."""
    try:
        _charge(ctx, place, seconds, "failed")
    except LedgerError as error:
        ctx.log.warning("what the failed attempt cost, %.0f s, is not recorded: %s", seconds, error)


def _log_model(
    ctx: StepContext, mlflow: Mlflow, tracked: TrackedRun, result: Result, place: _Place, folder: Path
) -> None:
    import polars as pl

    from tidemill.steps.scoring import classes_of

    if tracked.model_uri is not None:
        return
    evaluate = ctx.spec.evaluate
    classification = evaluate.task == "classification"
    classes = None
    if classification:
        target = pl.read_parquet(folder / "train.parquet", columns=[evaluate.target])[evaluate.target]
        classes = classes_of(target)
    mlflow.log_model(
        tracked.run_id,
        place.output / str(result.model),
        sample=_sample(folder / "holdout.parquet", evaluate.target),
        classification=classification,
        classes=classes,
    )


def _sample(holdout: Path, target: str) -> pd.DataFrame:
    import polars as pl

    frame = pl.read_parquet(holdout).drop(target)
    return frame.sample(min(_SAMPLE_ROWS, frame.height), seed=0).to_pandas()


def _tags(ctx: StepContext) -> dict[str, str]:
    tags = {"tidemill.pipeline": ctx.pipeline, "tidemill.as_of": ctx.as_of.instant.isoformat()}
    commit = git_commit(ctx.project.root)
    return tags if commit is None else {**tags, "tidemill.git_commit": commit}


def _record(ctx: StepContext, tracked: TrackedRun, same: Mapping[str, str]) -> Run:
    assert tracked.model_uri is not None
    return Run(
        run_id=tracked.run_id,
        experiment=ctx.pipeline,
        data_version=same["tidemill.data_version"],
        code_version=same["tidemill.code_version"],
        spec_hash=ctx.spec_hash,
        seed=ctx.spec.train.seed,
        params=ctx.spec.train.params,
        metrics=tracked.metrics,
        model_uri=tracked.model_uri,
        seconds=float(tracked.tags.get("tidemill.seconds", "0")),
    )


@contextlib.contextmanager
def _alone(ctx: StepContext) -> Iterator[None]:
    """Only one attempt at a time: Airflow may start another while it believes the first to be dead."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(ctx.scratch("train") / ".lock"))
        except Taken:
            raise StepError("another attempt of this training is still running on this machine", retry=True) from None
        yield
