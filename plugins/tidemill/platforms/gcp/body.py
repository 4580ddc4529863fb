"""A job as Vertex AI's own ``CustomJob``, checked before it is sent.

The limits are those of the public reference of ``projects.locations.customJobs`` and of the SDK's types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tidemill.platforms.ports import PlatformError, RemoteJob

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import (
        ContainerSpec,
        CustomJob,
        DiskSpec,
        MachineSpec,
        Scheduling,
        WorkerPoolSpec,
    )
    from google.protobuf.duration_pb2 import Duration

MAX_LABELS: Final = 64
MIN_DISK: Final = 100
"""GB; also the service's default."""
MAX_DISK: Final = 64_000
_GB: Final = 1_000_000_000
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
_NETWORK: Final = re.compile(r"projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


def custom_job(job: RemoteJob, command: Sequence[str]) -> CustomJob:
    """What ``CreateCustomJob`` is sent for a job that runs ``command`` in its image.

    Raises:
        PlatformError: the spec asks for what Vertex AI would refuse (fault ``user``); the message names the setting.
    """
    from google.cloud.aiplatform_v1.types import CustomJob, CustomJobSpec, EncryptionSpec, GcsDestination

    platform = job.platform
    network = platform.network.name if platform.network is not None else None
    if network and not _NETWORK.fullmatch(network):
        raise _refused("platform.network.name", network, "projects/PROJECT_NUMBER/global/networks/NAME")
    if platform.encryption_key and not _KEY.fullmatch(platform.encryption_key):
        raise _refused(
            "platform.encryption_key",
            platform.encryption_key,
            "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY",
        )
    body = CustomJob(
        display_name=job.name,
        labels=labels(job),
        job_spec=CustomJobSpec(
            worker_pool_specs=_pools(job, command),
            scheduling=_scheduling(job),
            service_account=platform.service_account or "",
            network=network or "",
            base_output_directory=GcsDestination(output_uri_prefix=job.output),
        ),
    )
    if platform.encryption_key:
        body.encryption_spec = EncryptionSpec(kms_key_name=platform.encryption_key)
    return body


def labels(job: RemoteJob) -> dict[str, str]:
    """The spec's own tags, and the job's.

    Raises:
        PlatformError: too many, or one is not what Google Cloud takes as a label.
    """
    for key, value in job.platform.tags.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise _refused(
                f"platform.tags.{key}", value, "at most 63 characters of a-z 0-9 _ - each, the key from a letter on"
            )
    found = {**job.platform.tags, **job.tags}
    if len(found) > MAX_LABELS:
        raise PlatformError(
            f"platform.tags: {len(job.platform.tags)} tags; Vertex AI takes {MAX_LABELS} labels a job, and "
            f"{len(job.tags)} are Tidemill's own",
            fault="user",
        )
    return found


def _pools(job: RemoteJob, command: Sequence[str]) -> list[WorkerPoolSpec]:
    """The first pool is one machine, the chief; all others are in the second one."""
    from google.cloud.aiplatform_v1.types import WorkerPoolSpec

    count = job.resources.count
    machine, container, disk = _machine(job), _container(job, command), _disk(job)
    replicas = [1] if count == 1 else [1, count - 1]
    return [
        WorkerPoolSpec(machine_spec=machine, replica_count=n, container_spec=container, disk_spec=disk)
        for n in replicas
    ]


def _container(job: RemoteJob, command: Sequence[str]) -> ContainerSpec:
    from google.cloud.aiplatform_v1.types import ContainerSpec, EnvVar

    if not job.image:
        raise PlatformError("train.image is missing: Vertex AI runs a container image", fault="user")
    return ContainerSpec(
        image_uri=job.image,
        command=list(command),
        env=[EnvVar(name=name, value=value) for name, value in sorted(job.environment.items())],
    )


def _machine(job: RemoteJob) -> MachineSpec:
    from google.cloud.aiplatform_v1.types import AcceleratorType, MachineSpec

    if not job.machine:
        raise PlatformError(
            "train.resources.machine is missing: Vertex AI needs a machine type, e.g. n1-standard-4", fault="user"
        )
    gpus, kind = job.resources.gpu, job.resources.accelerator
    if kind is None and gpus is None:
        return MachineSpec(machine_type=job.machine)
    if kind is None:
        raise PlatformError("train.resources.gpu needs train.resources.accelerator, e.g. NVIDIA_TESLA_T4", fault="user")
    if kind not in AcceleratorType.__members__ or kind == "ACCELERATOR_TYPE_UNSPECIFIED":
        raise _refused(
            "train.resources.accelerator", kind, f"one of {', '.join(list(AcceleratorType.__members__)[1:])}"
        )
    return MachineSpec(
        machine_type=job.machine, accelerator_type=AcceleratorType.__members__[kind], accelerator_count=gpus or 1
    )


def _disk(job: RemoteJob) -> DiskSpec:
    from google.cloud.aiplatform_v1.types import DiskSpec

    asked = -(-job.resources.disk // _GB) if job.resources.disk is not None else MIN_DISK
    if asked > MAX_DISK:
        raise _refused("train.resources.disk", f"{asked} GB", f"at most {MAX_DISK} GB")
    return DiskSpec(boot_disk_type="pd-ssd", boot_disk_size_gb=max(asked, MIN_DISK))


def _scheduling(job: RemoteJob) -> Scheduling:
    from google.cloud.aiplatform_v1.types import Scheduling

    several = job.resources.count > 1
    scheduling = Scheduling(
        strategy=Scheduling.Strategy.SPOT if job.spot else Scheduling.Strategy.STANDARD,
        # Without spot machines a job that fails is Airflow's to try again, which knows whether that helps: the service
        # would restart a worker five times, and pay for each. A spot job is restarted by the service, all machines at
        # once: a training with several does not survive the loss of one.
        disable_retries=not job.spot,
        restart_job_on_worker_restart=job.spot and several,
    )
    if job.timeout is not None:
        scheduling.timeout = _duration(job.timeout)
    spot = job.resources.spot
    if job.spot and spot is not None and spot.wait is not None:
        scheduling.max_wait_duration = _duration(spot.wait)
    return scheduling


def _duration(length: timedelta) -> Duration:
    from google.protobuf.duration_pb2 import Duration

    return Duration(seconds=math.ceil(length.total_seconds()))


def _refused(setting: str, value: str, wanted: str) -> PlatformError:
    return PlatformError(f"{setting}: {value!r} is not what Vertex AI takes: {wanted}", fault="user")
