"""Has what a step computes over rows done in this process, or as a job of the platform's service where the spec asks
for that (``platform.processing``): the same function on the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import JobRef, JobStatus, RemoteJob, Storage
from tidemill.runtime.files import result_of
from tidemill.steps import remote
from tidemill.steps.computing import STEPS, Compute, Computed
from tidemill.steps.context import StepContext, StepError

if TYPE_CHECKING:
    from tidemill.platforms.packing import Package
    from tidemill.spec.models import Spec
    from tidemill.spec.platform import Processing
    from tidemill.steps.computing import Computation

_SERVICES: Final = {"sagemaker": "sagemaker-processing"}
"""The service that computes, beside the one that trains."""
_REQUEST: Final = "request.json"


def settings_of(spec: Spec, step: str) -> Processing | None:
    """How a step's computation is to be run as a job; ``None``: it runs in the task's own process."""
    found = spec.platform.processing
    if found is None or step not in (STEPS if found.steps is None else found.steps):
        return None
    return found


def remotely(ctx: StepContext, step: str) -> bool:
    """Whether a step's computation runs as a job."""
    return settings_of(ctx.spec, step) is not None


def compute(ctx: StepContext, step: str, prepare: Callable[[], Computation], function: Compute) -> Computed:
    """What a step's function finds.

    A job that was begun for this task is gone on with: what its task had decided then stands, and ``prepare`` is not
    asked again.

    Args:
        ctx: the run.
        step: the step's name.
        prepare: decides, and brings the files together.
        function: the step's ``compute``.

    Raises:
        StepWaits: the job runs; call this again when it has ended.
        StepError: what the function raises; the job failed for another reason (``retry`` if another attempt can
            help); the platform cannot be reached.
    """
    settings = settings_of(ctx.spec, step)
    if settings is None:
        given = prepare()
        return Computed(given.facts, function(given), given.output)
    folder = ctx.scratch("processing") / ctx.task_id
    remote.do(_processing(ctx, step, settings, folder, prepare))
    return _collected(ctx, folder)


@dataclass
class _Processing(remote.Work):
    step: str
    prepare: Callable[[], Computation]

    @property
    def machines(self) -> list[str | None]:
        """One attempt, since the service itself goes through a list; which machine it took, only it knows."""
        machine = self.resources.machine
        return [None if isinstance(machine, list) else machine]

    def pack(self) -> Package:
        from tidemill.platforms.packing import pack_whole

        return pack_whole(self.ctx.project.root)

    def upload(self, job: RemoteJob) -> RemoteJob:
        given, storage = self.prepare(), self.at(job.platform, job.service).storage
        base = job.code.rpartition("/code/")[0]
        inputs = {name: _stored(storage, path, f"{base}/content") for name, path in sorted(given.inputs.items())}
        request = {
            "step": self.step,
            "spec": self.ctx.spec.model_dump(mode="json", exclude_none=True, by_alias=True),
            "facts": given.facts,
            "inputs": {name: path.name if path.is_file() else "" for name, path in given.inputs.items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / _REQUEST
        file.write_text(json.dumps(request, sort_keys=True, allow_nan=False), encoding="utf-8")
        storage.put(file, f"{job.job}/{_REQUEST}")
        return replace(job, inputs=inputs)

    def failure(self, job: RemoteJob, ref: JobRef, status: JobStatus) -> StepError:
        links = self.at(job.platform, job.service).jobs.links(ref)
        return StepError(f"job {ref.name} failed: {status.reason}; its log: {links.log}", retry=status.fault != "user")


def _processing(
    ctx: StepContext, step: str, settings: Processing, folder: Path, prepare: Callable[[], Computation]
) -> _Processing:
    from tidemill.spec.platform import Resources

    service = _SERVICES[remote.cloud_of(ctx).service]
    return _Processing(
        ctx=ctx,
        folder=folder,
        cloud=Cloud(ctx.spec.platform, service, ctx.connections),
        resources=Resources.model_construct(machine=settings.machine, disk=settings.disk),
        image=settings.image or ctx.spec.train.image or "",
        timeout=settings.timeout,
        step=step,
        prepare=prepare,
    )


def _collected(ctx: StepContext, folder: Path) -> Computed:
    try:
        found = json.loads(result_of(folder / "output").read_text(encoding="utf-8"))
        made = Computed(found["facts"], found["value"], folder / "output")
    except FileNotFoundError:
        raise StepError(
            "the job succeeded, and what it left is not in the store: was its output deleted? Clear this task to "
            "compute it again."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(f"what the job left cannot be read: {error}. Clear this task to compute it again.") from None
    _compare(ctx, found.get("versions", {}))
    return made


def _compare(ctx: StepContext, there: Mapping[str, str]) -> None:
    """Say which libraries are others in the container than here: numbers may differ, and do not say why."""
    from importlib.metadata import PackageNotFoundError, version

    for name, other in there.items():
        try:
            here = version(name)
        except PackageNotFoundError:
            continue
        if here != other:
            ctx.log.warning("the image has %s %s, Airflow's environment %s: numbers may differ", name, other, here)


def _stored(storage: Storage, path: Path, base: str) -> str:
    """Store a file or folder under the digest of its content, once; the folder's address."""
    files = {path.name: path} if path.is_file() else dict(_below(path))
    digests = {name: _digest(file) for name, file in files.items()}
    content = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:32]
    for name, file in files.items():
        storage.put(file, f"{base}/{content}/{name}")
    return f"{base}/{content}"


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
