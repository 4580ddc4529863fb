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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidemill.ledger import views
from tidemill.ledger.installation import installation_id
from tidemill.platforms.cloud import Cloud, service_of
from tidemill.platforms.places import Choice, following, place_of
from tidemill.platforms.ports import JobRef, JobStatus, PlatformError, RemoteJob, RemoteJobs
from tidemill.records import RemoteTraining
from tidemill.steps.context import StepContext, StepError, StepWaits
from tidemill.steps.intent import Intent, State, recall, remember
from tidemill.steps.job_names import job_name, job_tags
from tidemill.steps.ledger_io import record

if TYPE_CHECKING:
    from tidemill.platforms.packing import Package
    from tidemill.spec.platform import Platform, Resources

_LONGEST: Final = timedelta(days=7)
"""How long a job without `train.timeout` is waited for before its task looks after it again."""
_MARGIN: Final = timedelta(minutes=10)
_SEARCHES: Final = (0.0, 2.0, 3.0, 5.0)
"""Seconds before each search for a job that an earlier try may have submitted: a service's lists are late."""


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
    _elsewhere: list[Cloud] = field(default_factory=list, init=False)

    @property
    def choices(self) -> Sequence[Choice]:
        """Every way to run the job, in the order in which they are tried."""
        return [Choice(self.cloud.platform, self.image, (name,) if name else ()) for name in self.machines]

    def at(self, platform: Platform, service: str) -> Cloud:
        """The ports of a place."""
        for cloud in (self.cloud, *self._elsewhere):
            if (cloud.platform, cloud.service) == (platform, service):
                return cloud
        self._elsewhere.append(Cloud(platform, service, self.ctx.connections))
        return self._elsewhere[-1]

    @property
    def machines(self) -> Sequence[str | None]:
        """The machine types of which an attempt after the other is made on one."""
        machine = self.resources.machine
        return machine if isinstance(machine, list) else [machine]

    @property
    def given(self) -> Mapping[str, Any]:
        """What the work is made of, to be remembered with its job: plain values."""
        return {}

    @abstractmethod
    def pack(self) -> Package:
        """The packed code. Raises PlatformError."""

    def complete(self, job: RemoteJob, base: str, cleared: int) -> RemoteJob:
        """The job with the addresses that are its kind's own, below ``base``; its checkpoints are below the one that it
        has."""
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


@dataclass
class _Attempts:
    """The attempts at one piece of work, of which one is under way."""

    work: Work
    mine: set[str] = field(default_factory=set)
    """The jobs that nobody but this try can have submitted."""

    def __post_init__(self) -> None:
        self.ctx = self.work.ctx
        self.folder = self.work.folder

    def cloud(self, intent: Intent) -> Cloud:
        """The ports of the place where the job is."""
        return self.work.at(intent.where.platform, intent.service)

    @cached_property
    def installation(self) -> str:
        with self.ctx.open_ledger() as ledger:
            return installation_id(ledger)

    def run(self) -> None:
        intent, fresh = self._begin(recall(self.ctx)), not self.ctx.woken
        while True:
            try:
                intent = self._submitted(intent)
            except PlatformError as error:
                if error.fault != "capacity":
                    raise
                self._note(intent, "failed", JobStatus("failed", str(error), "capacity"))
                intent = self._next(intent, str(error))
                continue
            cloud = self.cloud(intent)
            ref = JobRef(cloud.service, intent.name, intent.id, intent.region)
            self.ctx.on_stop[:] = [partial(self._stop_with_its_task, cloud, ref)]
            status = cloud.jobs.poll([ref]).get(ref.id)
            if status is None:
                remember(self.ctx, replace(intent, state="failed"))
                self._note(intent, "failed", JobStatus("failed", "the service no longer knows it"))
                raise StepError(
                    f"job {ref.name} is gone: {cloud.service} no longer knows it; was it deleted?", retry=True
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

    def _begin(self, intent: Intent | None) -> Intent:
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

    def _intend(self, attempt: int, choice: Choice | None = None) -> Intent:
        """Write down what is going to be submitted, before it is; where the spec likes it best if nothing is said."""
        intent = Intent(
            attempt=attempt,
            cleared=self.ctx.cleared,
            name=job_name(self.ctx, self.installation, attempt),
            service=self.work.cloud.service,
            choice=(choice or self.work.choices[0]).to_json(),
            given=self.work.given,
            began=datetime.now(UTC).isoformat(),
        )
        self.mine.add(intent.name)
        remember(self.ctx, intent)
        self._note(intent, "intended")
        return intent

    def _submitted(self, intent: Intent) -> Intent:
        """The intent with the id of its job, found or submitted."""
        if intent.id:
            return intent
        job, cloud = self._job(intent), self.cloud(intent)
        ref = find(cloud.jobs, job, again=job.name not in self.mine)
        if ref is None:
            intent = replace(intent, code=self._package.version)
            job = self._job(intent)
            cloud.storage.put(self._package.file, f"{job.code}/code.tar.gz")
            job = self.work.upload(job)
            ref = cloud.jobs.submit(job)
            intent = replace(intent, began=datetime.now(UTC).isoformat())  # what was uploaded may have taken hours
            self.ctx.log.info("submitted job %s to %s: %s", job.name, cloud.service, intent.where)
        else:
            self.ctx.log.info("job %s is there already", job.name)
        links = cloud.jobs.links(ref)
        for what, address in asdict(links).items():
            if address:
                self.ctx.log.info("%s: %s", what, address)
        intent = replace(intent, state="submitted", id=ref.id, region=ref.region, console=links.console, log=links.log)
        remember(self.ctx, intent)
        self._note(intent, "submitted")
        return intent

    def _still_waiting(self, intent: Intent, ref: JobRef, status: JobStatus) -> Intent:
        """Wait for the job, unless it has been waiting for a machine for too long.

        Raises:
            StepWaits: always but then.
        """
        patience = self._patience(intent.where)
        queued_until = None
        if status.state == "queued" and patience is not None:
            queued_until = datetime.fromisoformat(intent.began) + patience
            if datetime.now(UTC) >= queued_until:
                self._stop(self.cloud(intent), ref)
                why = f"no {'spot ' if intent.where.spot else ''}machine within {patience}"
                self._note(intent, "stopped", JobStatus("stopped", why))
                return self._next(intent, why, elsewhere=True)
        timeout = self.work.timeout
        until = datetime.now(UTC) + (timeout + _MARGIN if timeout is not None else _LONGEST)
        raise StepWaits(self.cloud(intent), ref, until, queued_until)

    def _patience(self, choice: Choice) -> timedelta | None:
        """How long a job may be queued; ``None``: for as long as it takes."""
        spot, beyond = self.work.resources.spot, following(self.work.choices, choice, elsewhere=True)
        limits = [spot.wait if choice.spot and spot is not None else None]
        if beyond is not None and beyond.spot == choice.spot:
            limits.append(beyond.after)
        return min((limit for limit in limits if limit is not None), default=None)

    def _collect(self, intent: Intent, ref: JobRef, status: JobStatus) -> None:
        self._note(intent, "succeeded", status)
        shutil.rmtree(self.folder / "output", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cloud(intent).jobs.collect(self._job(intent), ref, self.folder)
        remember(self.ctx, replace(intent, state="succeeded"))
        paid = "" if status.billable is None else f", {status.billable:.0f} s of it paid for"
        ran = "" if status.seconds is None else f" after {status.seconds:.0f} s{paid}"
        self.ctx.log.info("job %s succeeded%s", ref.name, ran)

    def _after_failure(self, intent: Intent, ref: JobRef, status: JobStatus, *, fresh: bool) -> Intent:
        """The next attempt, where this task may make one by itself.

        Raises:
            StepError: it may not.
        """
        remember(self.ctx, replace(intent, state="stopped" if status.state == "stopped" else "failed"))
        self._note(intent, "stopped" if status.state == "stopped" else "failed", status)
        if status.state == "stopped":
            if fresh or self._ended_with_its_task(ref).exists():
                # Whoever ended the task ended its job, and the task goes on now.
                return self._intend(intent.attempt + 1)
            raise StepError(f"job {ref.name} was stopped: {status.reason or 'by somebody else'}", retry=False)
        if status.fault == "capacity":
            return self._next(intent, status.reason)
        raise self.work.failure(self._job(intent), ref, status)

    def _next(self, intent: Intent, reason: str, *, elsewhere: bool = False) -> Intent:
        """The attempt on the next machine, at the next place, or on one that is not a spot machine; ``elsewhere``: not
        on another machine at this place.

        Raises:
            StepError: nothing is left to fall back to.
        """
        choice = following(self.work.choices, intent.where, elsewhere=elsewhere)
        if choice is None:
            remember(self.ctx, replace(intent, state="failed"))
            raise StepError(f"job {intent.name}: no machine to be had: {reason}", retry=True)
        self.ctx.log.info("no machine to be had (%s); trying %s", reason, choice)
        return self._intend(intent.attempt + 1, choice)

    def _job(self, intent: Intent) -> RemoteJob:
        cloud, choice, resources = self.cloud(intent), intent.where, self.work.resources
        base = cloud.place(self.installation)
        if len(choice.machines) > 1:
            resources = resources.model_copy(update={"machine": list(choice.machines)})
        job = RemoteJob(
            name=intent.name,
            service=cloud.service,
            platform=cloud.platform,
            resources=resources,
            image=choice.image,
            code=f"{base}/code/{intent.code}",
            data="",
            job=f"{base}/jobs/{intent.name}/job",
            output=f"{base}/jobs/{intent.name}/output",
            checkpoint=choice.checkpoint,
            tags=job_tags(self.ctx, self.installation, intent.name, intent.attempt),
            spot=choice.spot,
            machine=choice.machine,
            timeout=self.work.timeout,
            environment={"PYTHONHASHSEED": str(self.ctx.spec.train.seed)},
        )
        return self.work.complete(job, base, intent.cleared)

    @cached_property
    def _package(self) -> Package:
        return self.work.pack()

    def _give_up(self, intent: Intent) -> None:
        """End a job whose task was cleared: whoever cleared it wants another one."""
        cloud = self.cloud(intent)
        ref = JobRef(cloud.service, intent.name, intent.id, intent.region) if intent.id else None
        ref = ref or find(cloud.jobs, self._job(intent), again=True)
        if ref is not None:
            self._stop(cloud, ref)
        self._note(intent, "stopped", JobStatus("stopped", "the task was cleared"))

    def _stop_with_its_task(self, cloud: Cloud, ref: JobRef) -> None:
        """Stop a job because its task is told to end, by a person or by a machine that goes down.

        A task that is just about to wait does so all the same: the mark tells it, when it is woken, whose doing it was.
        """
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._ended_with_its_task(ref).touch()
        self._stop(cloud, ref)

    def _ended_with_its_task(self, ref: JobRef) -> Path:
        return self.folder / f"{ref.name}.ended-with-its-task"

    def _stop(self, cloud: Cloud, ref: JobRef) -> None:
        self.ctx.log.info("stopping job %s", ref.name)
        cloud.jobs.stop(ref)

    def _note(self, intent: Intent, state: State, status: JobStatus | None = None) -> None:
        """Put into the ledger what became of the job. A fact that is there already is not written again."""
        made = RemoteTraining(
            name=intent.name,
            service=intent.service,
            attempt=intent.attempt,
            state=state,
            id=intent.id if state != "intended" else "",
            place=place_of(intent.where.platform),
            machine=(status.machine if status else None) or intent.where.machine,
            spot=intent.where.spot,
            reason=status.reason[:500] if status else "",
            seconds=status.seconds if status else None,
            billable=status.billable if status else None,
            interruptions=status.interruptions if status else 0,
        )
        key = f"job/{intent.name}/{state}"
        with self.ctx.open_ledger() as ledger:
            if ledger.find(self.ctx.model, key) is None:
                record(ledger, self.ctx, views.JOB, made, key=key)


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


def cloud_of(ctx: StepContext, platform: Platform | None = None) -> Cloud:
    """The platform of a step's pipeline, or what it is at another place."""
    found = platform or ctx.spec.platform
    return Cloud(found, service_of(found, ctx.spec.train.service), ctx.connections)
