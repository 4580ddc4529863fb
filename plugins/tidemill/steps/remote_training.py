"""A training as a job on a cloud's service."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.checks.code import module_file, tree_of
from tidemill.platforms.places import Choice, choices
from tidemill.platforms.ports import JobRef, JobStatus, PlatformError, RemoteJob, TrackedTraining
from tidemill.records import DataVersion
from tidemill.steps import remote
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.intent import begun, recall
from tidemill.steps.job_names import checkpoint_place

if TYPE_CHECKING:
    from tidemill.platforms.packing import Package


def train(
    ctx: StepContext, folder: Path, data: DataVersion, fetch: Callable[[], Path], facts: Mapping[str, str]
) -> None:
    """See to it that ``folder`` holds what a finished training left: ``output`` and ``output.result.json``.

    ``facts`` tell the training from others, and are remembered with its job. ``fetch`` makes the folder with the data
    version's files, if they have to be uploaded.

    Raises:
        StepWaits: the job runs; call this again when it has ended.
        StepError: the job failed (``retry`` if another attempt can help), or the platform cannot be reached.
    """
    given = ctx.spec.train
    cloud = remote.cloud_of(ctx)
    remote.do(_Training(ctx, folder, cloud, given.resources, given.image or "", given.timeout, data, fetch, facts))


def as_begun(ctx: StepContext) -> tuple[StepContext, Mapping[str, str] | None]:
    """The context and the facts of the training whose job is under way or done, whatever was changed in the spec since.

    The job trains what the spec said when it was submitted; so it is recorded as that. ``None``: there is no such job.
    """
    job = begun(ctx)
    if job is None or not job.given:
        return ctx, None
    given = job.given
    train = ctx.spec.train.model_copy(update={"params": given["params"], "seed": given["seed"]})
    spec = ctx.spec.model_copy(update={"train": train})
    return replace(ctx, spec=spec, spec_hash=given["spec_hash"]), given["facts"]


def track(ctx: StepContext, metrics: Mapping[str, float]) -> None:
    """Write a finished training to the platform's own experiments, where the spec asks for that beside MLflow.

    Raises:
        StepError: the platform does not take it (``retry`` if another try can help).
    """
    if ctx.spec.train.track == "mlflow":
        return
    intent = recall(ctx)
    assert intent is not None
    tags = {"tidemill-dag": ctx.dag_id, "tidemill-run": ctx.run_id, "tidemill-as-of": ctx.as_of.instant.isoformat()}
    training = TrackedTraining(intent.name, ctx.pipeline, ctx.spec.train.params, metrics, tags)
    try:
        address = remote.cloud_of(ctx, intent.where.platform).tracking.log(training)
    except PlatformError as error:
        raise StepError(f"train.track: {ctx.spec.train.track}: {error}", retry=error.fault != "user") from error
    ctx.log.info("%s: %s", ctx.spec.train.track, address)


@dataclass
class _Training(remote.Work):
    data: DataVersion
    fetch: Callable[[], Path]
    facts: Mapping[str, str]

    @property
    def given(self) -> Mapping[str, Any]:
        """What :func:`as_begun` goes by."""
        train = self.ctx.spec.train
        return {
            "params": dict(train.params),
            "seed": train.seed,
            "spec_hash": self.ctx.spec_hash,
            "facts": dict(self.facts),
        }

    @cached_property
    def choices(self) -> Sequence[Choice]:
        """See :mod:`tidemill.platforms.places`."""
        return choices(self.ctx.spec.platform, self.ctx.spec.train)

    def pack(self) -> Package:
        from tidemill.platforms.packing import pack

        return pack(self.ctx.project.root, self.ctx.spec.train.code)

    def complete(self, job: RemoteJob, base: str, cleared: int) -> RemoteJob:
        checkpoint = job.checkpoint and checkpoint_place(job.checkpoint, job.name, cleared)
        metrics = (*self.ctx.spec.evaluate.metrics, *self._logged)
        return replace(job, data=f"{base}/data/{self.data.version}", checkpoint=checkpoint, metrics=metrics)

    @cached_property
    def _logged(self) -> Sequence[str]:
        """The names that the function's module logs by ``log_metric("…")``."""
        file = module_file(self.ctx.spec.train.code.partition(":")[0], self.ctx.project.root)
        return [] if file is None else logged_metrics(file.read_bytes())

    def upload(self, job: RemoteJob) -> RemoteJob:
        storage, train = self.at(job.platform, job.service).storage, self.ctx.spec.train
        folder = self.fetch()
        for name in ("train.parquet", "holdout.parquet"):
            storage.put(folder / name, f"{job.data}/{name}")
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "job.json"
        told = {
            "code": train.code,
            "params": train.params,
            "seed": train.seed,
            "timeout": None if train.timeout is None else train.timeout.total_seconds(),
            "memory": None if train.resources.memory is None else int(train.resources.memory),
            "cpu": train.resources.cpu,
        }
        file.write_text(json.dumps(told, sort_keys=True, allow_nan=False), encoding="utf-8")
        storage.put(file, f"{job.job}/job.json")
        return job

    def failure(self, job: RemoteJob, ref: JobRef, status: JobStatus) -> StepError:
        told = self._told(job, ref)
        if told:
            self.ctx.log.error("%s", told)
        return StepError(f"job {ref.name} failed: {status.reason}", retry=status.fault != "user")

    def _told(self, job: RemoteJob, ref: JobRef) -> str:
        """What the user's code raised, with its own frames, if the job left a record of it."""
        from tidemill.runtime.files import BadFile, Result, result_of

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.at(job.platform, job.service).jobs.collect(job, ref, self.folder)
            failure = Result.read(result_of(self.folder / "output")).failure
        except (PlatformError, BadFile, OSError):
            return ""
        return f"{failure.message}\n{failure.traceback}".rstrip() if failure else ""


def logged_metrics(source: bytes) -> list[str]:
    """The names that are written out in a module's calls of ``log_metric``, in order; none if it is no Python."""
    try:
        tree = tree_of(source)
    except (SyntaxError, ValueError):
        return []
    named = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "log_metric":
            given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
            named += [
                value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
    return list(dict.fromkeys(named))
