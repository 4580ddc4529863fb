"""A job on a cloud's service, which a crash anywhere does not start a second time: a training, or what another step
computes (processing.py).

The intent comes first: the job's name, derived from its cause and an attempt's number, is remembered (in the task's
memory and in the ledger) before the service hears of it. Whoever comes later, a retry or the same task woken up,
looks for the job of that name and takes it as it is found. A new attempt, with a new name, begins only when the last
one has ended: it failed, it was stopped, or somebody cleared the task since.
"""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidemill.ledger import views
from tidemill.ledger.installation import installation_id
from tidemill.platforms.cloud import Cloud, service_of
from tidemill.platforms.ports import JobRef, JobStatus, PlatformError, RemoteJob, RemoteJobs
from tidemill.records import RemoteTraining
from tidemill.steps.context import StepContext, StepError, StepWaits
from tidemill.steps.job_names import job_name, job_tags
from tidemill.steps.ledger_io import record

if TYPE_CHECKING:
    from typing import Literal

    from tidemill.platforms.packing import Package
    from tidemill.spec.platform import Resources

    State = Literal["intended", "submitted", "succeeded", "failed", "stopped"]

_INTENT: Final = "job"
_LONGEST: Final = timedelta(days=7)
"""How long a job without `train.timeout` is waited for before its task looks after it again."""
_MARGIN: Final = timedelta(minutes=10)
_SEARCHES: Final = (0.0, 2.0, 3.0, 5.0)
"""Seconds before each search for a job that an earlier try may have submitted: a service's lists are late."""


@dataclass(frozen=True)
class _Intent:
    """What the task remembers of its job. ``machine`` is an index into the spec's list; ``code`` the packed code's
    version; ``console`` and ``log`` are where a person sees the job."""

    attempt: int
    cleared: int
    name: str
    state: State = "intended"
    id: str = ""
    region: str = ""
    machine: int = 0
    spot: bool = False
    began: str = ""
    code: str = ""
    console: str = ""
    log: str = ""

    @property
    def ended(self) -> bool:
        return self.state not in ("intended", "submitted")


@dataclass
class Work(ABC):
    """What a job does, and where and on what: all of it that is not about surviving a crash.

    ``folder`` gets what a finished job left: ``output`` and ``output.result.json``.
    """

    ctx: StepContext
    folder: Path
    cloud: Cloud
    resources: Resources
    image: str
    timeout: timedelta | None

    @property
    def machines(self) -> Sequence[str | None]:
        """The machine types of which an attempt after the other is made on one."""
        machine = self.resources.machine
        return machine if isinstance(machine, list) else [machine]

    @abstractmethod
    def pack(self) -> Package:
        """The packed code. Raises PlatformError."""

    def complete(self, job: RemoteJob, base: str, cleared: int) -> RemoteJob:
        """The job with the addresses that are its kind's own, below ``base``."""
        return job

    @abstractmethod
    def upload(self, job: RemoteJob) -> RemoteJob:
        """Bring what the job reads, besides its code, to the platform; what is there already is left alone. The job
        with the addresses that become known by that."""

    @abstractmethod
    def failure(self, job: RemoteJob, ref: JobRef, status: JobStatus) -> StepError:
        """What a failed job means for its step."""


def do(work: Work) -> None:
    """See to it that the work's folder holds what a finished job left.

    Raises:
        StepWaits: the job runs; call this again when it has ended.
        StepError: the job failed (``retry`` if another attempt can help), or the platform cannot be reached.
    """
    attempts = _Attempts(work)
    try:
        attempts.run()
    except PlatformError as error:
        raise StepError(str(error), retry=error.fault != "user") from error
    finally:
        attempts.tidy()


def begun(ctx: StepContext) -> bool:
    """Whether a job of the task is under way or has succeeded, so that :func:`do` goes on with that one."""
    intent = show(ctx)
    return intent is not None and intent.cleared == ctx.cleared and intent.state not in ("failed", "stopped")


@dataclass
class _Attempts:
    """The attempts at one piece of work, of which one is under way."""

    work: Work
    mine: set[str] = field(default_factory=set)
    """The jobs that nobody but this try can have submitted."""

    def __post_init__(self) -> None:
        self.ctx = self.work.ctx
        self.cloud = self.work.cloud
        self.folder = self.work.folder

    @cached_property
    def installation(self) -> str:
        with self.ctx.open_ledger() as ledger:
            return installation_id(ledger)

    def run(self) -> None:
        intent, fresh = self._begin(show(self.ctx)), not self.ctx.woken
        while True:
            intent = self._submitted(intent)
            ref = JobRef(self.cloud.service, intent.name, intent.id, intent.region)
            self.ctx.on_stop[:] = [partial(self._stop, ref)]
            status = self.cloud.jobs.poll([ref]).get(ref.id)
            if status is None:
                self._remember(replace(intent, state="failed"))
                self._note(intent, "failed", JobStatus("failed", "the service no longer knows it"))
                raise StepError(
                    f"job {ref.name} is gone: {self.cloud.service} no longer knows it; was it deleted?", retry=True
                )
            if not status.ended:
                intent = self._still_waiting(intent, ref, status)
                continue
            if status.state == "succeeded":
                self._collect(intent, ref, status)
                return
            intent = self._after_failure(intent, ref, status, fresh=fresh)
            fresh = False

    def tidy(self) -> None:
        """Remove the packed code, if there is any."""
        if "_package" in vars(self):
            self._package.file.unlink(missing_ok=True)

    def _begin(self, intent: _Intent | None) -> _Intent:
        """The intent to go on with: the one that is remembered, or that of a new attempt."""
        if intent is None:
            return self._intend(1)
        if intent.cleared != self.ctx.cleared:
            if not intent.ended:
                self._give_up(intent)
            return self._intend(intent.attempt + 1)
        if intent.state in ("failed", "stopped"):
            return self._intend(intent.attempt + 1)
        self.ctx.log.info("going on with job %s", intent.name)
        return intent

    def _intend(self, attempt: int, machine: int = 0, *, spot: bool | None = None) -> _Intent:
        """Write down what is going to be submitted, before it is."""
        wants_spot = self.work.resources.spot is not None
        intent = _Intent(
            attempt=attempt,
            cleared=self.ctx.cleared,
            name=job_name(self.ctx, self.installation, attempt),
            machine=machine,
            spot=wants_spot if spot is None else spot,
            began=datetime.now(UTC).isoformat(),
        )
        self.mine.add(intent.name)
        self._remember(intent)
        self._note(intent, "intended")
        return intent

    def _submitted(self, intent: _Intent) -> _Intent:
        """The intent with the id of its job, found or submitted."""
        if intent.id:
            return intent
        job = self._job(intent)
        ref = find(self.cloud.jobs, job, again=job.name not in self.mine)
        if ref is None:
            intent = replace(intent, code=self._package.version)
            job = self._job(intent)
            self.cloud.storage.put(self._package.file, f"{job.code}/code.tar.gz")
            ref = self.cloud.jobs.submit(self.work.upload(job))
            self.ctx.log.info("submitted job %s to %s", job.name, self.cloud.service)
        else:
            self.ctx.log.info("job %s is there already", job.name)
        links = self.cloud.jobs.links(ref)
        for what, address in asdict(links).items():
            if address:
                self.ctx.log.info("%s: %s", what, address)
        intent = replace(intent, state="submitted", id=ref.id, region=ref.region, console=links.console, log=links.log)
        self._remember(intent)
        self._note(intent, "submitted")
        return intent

    def _still_waiting(self, intent: _Intent, ref: JobRef, status: JobStatus) -> _Intent:
        """Wait for the job, unless it has been waiting for a spot machine for too long.

        Raises:
            StepWaits: always but then.
        """
        began = datetime.fromisoformat(intent.began)
        spot = self.work.resources.spot
        queued_until = None
        if status.state == "queued" and intent.spot and spot is not None and spot.wait is not None:
            queued_until = began + spot.wait
            if datetime.now(UTC) >= queued_until:
                self._stop(ref)
                self._note(intent, "stopped", JobStatus("stopped", f"no spot machine within {spot.wait}"))
                return self._next(intent, f"no spot machine within {spot.wait}", spot_over=True)
        timeout = self.work.timeout
        until = datetime.now(UTC) + (timeout + _MARGIN if timeout is not None else _LONGEST)
        raise StepWaits(self.cloud, ref, until, queued_until)

    def _collect(self, intent: _Intent, ref: JobRef, status: JobStatus) -> None:
        self._note(intent, "succeeded", status)
        shutil.rmtree(self.folder / "output", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cloud.jobs.collect(self._job(intent), ref, self.folder)
        self._remember(replace(intent, state="succeeded"))
        paid = "" if status.billable is None else f", {status.billable:.0f} s of it paid for"
        ran = "" if status.seconds is None else f" after {status.seconds:.0f} s{paid}"
        self.ctx.log.info("job %s succeeded%s", ref.name, ran)

    def _after_failure(self, intent: _Intent, ref: JobRef, status: JobStatus, *, fresh: bool) -> _Intent:
        """The next attempt, where this task may make one by itself.

        Raises:
            StepError: it may not.
        """
        self._remember(replace(intent, state="stopped" if status.state == "stopped" else "failed"))
        self._note(intent, "stopped" if status.state == "stopped" else "failed", status)
        if status.state == "stopped":
            if fresh:  # somebody stopped the task, and with it the job, and now wants it run again
                return self._intend(intent.attempt + 1)
            raise StepError(f"job {ref.name} was stopped: {status.reason or 'by somebody else'}", retry=False)
        if status.fault == "capacity":
            return self._next(intent, status.reason)
        raise self.work.failure(self._job(intent), ref, status)

    def _next(self, intent: _Intent, reason: str, *, spot_over: bool = False) -> _Intent:
        """The attempt on the next machine of the spec's list, then on one that is not a spot machine.

        Raises:
            StepError: nothing is left to fall back to.
        """
        spot = self.work.resources.spot
        if not spot_over and intent.machine + 1 < len(self.work.machines):
            machine, on_spot = intent.machine + 1, intent.spot
        elif intent.spot and spot is not None and spot.fallback == "on-demand":
            machine, on_spot = 0, False
        else:
            self._remember(replace(intent, state="failed"))
            raise StepError(f"job {intent.name}: no machine to be had: {reason}", retry=True)
        self.ctx.log.info(
            "no machine to be had (%s); trying %s", reason, _machine_said(self.work.machines[machine], on_spot)
        )
        return self._intend(intent.attempt + 1, machine, spot=on_spot)

    def _job(self, intent: _Intent) -> RemoteJob:
        base = self.cloud.place(self.installation)
        job = RemoteJob(
            name=intent.name,
            service=self.cloud.service,
            platform=self.cloud.platform,
            resources=self.work.resources,
            image=self.work.image,
            code=f"{base}/code/{intent.code}",
            data="",
            job=f"{base}/jobs/{intent.name}/job",
            output=f"{base}/jobs/{intent.name}/output",
            checkpoint=None,
            tags=job_tags(self.ctx, self.installation, intent.name, intent.attempt),
            spot=intent.spot,
            machine=self.work.machines[intent.machine],
            timeout=self.work.timeout,
            environment={"PYTHONHASHSEED": str(self.ctx.spec.train.seed)},
        )
        return self.work.complete(job, base, intent.cleared)

    @cached_property
    def _package(self) -> Package:
        return self.work.pack()

    def _give_up(self, intent: _Intent) -> None:
        """End a job whose task was cleared: whoever cleared it wants another one."""
        ref = JobRef(self.cloud.service, intent.name, intent.id, intent.region) if intent.id else None
        ref = ref or self.cloud.jobs.find(self._job(intent))
        if ref is not None:
            self._stop(ref)
        self._note(intent, "stopped", JobStatus("stopped", "the task was cleared"))

    def _stop(self, ref: JobRef) -> None:
        self.ctx.log.info("stopping job %s", ref.name)
        self.cloud.jobs.stop(ref)

    def _remember(self, intent: _Intent) -> None:
        self.ctx.memory.set(_INTENT, asdict(intent))
        _link(self.ctx, intent)

    def _note(self, intent: _Intent, state: State, status: JobStatus | None = None) -> None:
        """Put into the ledger what became of the job. A fact that is there already is not written again."""
        made = RemoteTraining(
            name=intent.name,
            service=self.cloud.service,
            attempt=intent.attempt,
            state=state,
            id=intent.id if state != "intended" else "",
            machine=self.work.machines[intent.machine],
            spot=intent.spot,
            reason=status.reason[:500] if status else "",
            seconds=status.seconds if status else None,
            billable=status.billable if status else None,
            interruptions=status.interruptions if status else 0,
        )
        key = f"job/{intent.name}/{state}"
        with self.ctx.open_ledger() as ledger:
            if ledger.find(self.ctx.model, key) is None:
                record(ledger, self.ctx, views.JOB, made, key=key)


def show(ctx: StepContext) -> _Intent | None:
    """What the task remembers of its job, if there is one; the task then links to it."""
    value = ctx.memory.get(_INTENT)
    intent = None if value is None else _Intent(**value)
    if intent is not None:
        _link(ctx, intent)
    return intent


def _link(ctx: StepContext, intent: _Intent) -> None:
    ctx.links.update(console=intent.console, log=intent.log)


def find(jobs: RemoteJobs, job: RemoteJob, *, again: bool) -> JobRef | None:
    """The job, if the service has it; ``again``: an earlier try may have submitted it, and died before it knew.

    A service that takes a second job of one name is searched for some seconds then, until its lists must show it.

    Raises:
        PlatformError: no answer, or the name is taken by a stranger's job.
    """
    for pause in _SEARCHES if again and not jobs.refuses_duplicates else (0.0,):
        time.sleep(pause)
        ref = jobs.find(job)
        if ref is not None:
            return ref
    return None


def cloud_of(ctx: StepContext) -> Cloud:
    """The platform of a step's pipeline."""
    platform = ctx.spec.platform
    return Cloud(platform, service_of(platform, ctx.spec.train.service), ctx.connections)


def _machine_said(machine: str | None, spot: bool) -> str:
    return f"{machine or 'the platform’s choice'}{' (spot)' if spot else ''}"
