"""A training job as SageMaker's CreateTrainingJob takes it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from tidemill.platforms import packing
from tidemill.platforms.capabilities import has_local_disks
from tidemill.platforms.ports import PlatformError, RemoteJob

BASE: Final = "/opt/ml"
MODEL: Final = f"{BASE}/model"
CHECKPOINTS: Final = f"{BASE}/checkpoints"
# "The default value is 1 day. The maximum value is 28 days": StoppingCondition.MaxRuntimeInSeconds in the SDK's model.
_DEFAULT_RUN: Final = timedelta(days=1)
_LONGEST_RUN: Final = timedelta(days=28)
DEFAULT_WAIT: Final = timedelta(hours=1)
"""How long a spot machine is waited for where the spec does not say."""
_DEFAULT_DISK_GB: Final = 30
_COMMON_METRICS: Final = ("loss", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
"""What many functions log by a name that they make up."""
_MOST_METRICS: Final = 40


def training_request(job: RemoteJob) -> dict[str, Any]:
    """The request's body.

    Raises:
        PlatformError: a setting is missing or beyond what SageMaker takes; the fault is the user's.
    """
    platform = job.platform
    if not _types(job):
        raise _refused("SageMaker needs a machine type: train.resources.machine, e.g. ml.m5.xlarge")
    if not platform.role:
        raise _refused("SageMaker needs a role that jobs run as: platform.role")
    command = packing.folder_command(
        platform="sagemaker",
        code=f"{BASE}/input/data/code",
        data=f"{BASE}/input/data/data",
        job=f"{BASE}/input/data/job",
        output=MODEL,
        checkpoint=None if job.checkpoint is None else CHECKPOINTS,
    )
    body: dict[str, Any] = {
        "TrainingJobName": job.name,
        "RoleArn": platform.role,
        "AlgorithmSpecification": {
            "TrainingImage": job.image,
            "TrainingInputMode": "File",
            # An entry has at most 256 characters, a list at most 100 entries.
            "ContainerEntrypoint": command[:3],
            "ContainerArguments": command[3:],
            "MetricDefinitions": metric_definitions((*job.metrics, *_COMMON_METRICS)),
        },
        "InputDataConfig": [
            _channel(name, uri) for name, uri in (("code", job.code), ("data", job.data), ("job", job.job))
        ],
        "OutputDataConfig": {"S3OutputPath": folder(job.output)},
        "ResourceConfig": _machines(job),
        "StoppingCondition": _stopping(job),
        "Tags": [{"Key": key, "Value": value} for key, value in {**platform.tags, **job.tags}.items()],
        "Environment": dict(job.environment),
    }
    if job.spot:
        body["EnableManagedSpotTraining"] = True
    if platform.encryption_key:
        body["OutputDataConfig"]["KmsKeyId"] = platform.encryption_key
    if job.checkpoint is not None:
        body["CheckpointConfig"] = {"S3Uri": folder(job.checkpoint), "LocalPath": CHECKPOINTS}
    network = platform.network
    if network is not None:
        body["EnableNetworkIsolation"] = network.isolated
        if network.subnets or network.security_groups:
            body["VpcConfig"] = {"Subnets": network.subnets, "SecurityGroupIds": network.security_groups}
    return body


def metric_definitions(names: Sequence[str]) -> list[dict[str, str]]:
    """How SageMaker finds the metrics in what the job prints: lines ``[tidemill] metric NAME=VALUE step=N``. It asks
    for each by its name, and takes 40."""
    return [
        {"Name": name, "Regex": rf"\[tidemill\] metric {re.escape(name)}=([-+0-9.eE]+)"}
        for name in list(dict.fromkeys(names))[:_MOST_METRICS]
    ]


def folder(uri: str) -> str:
    """The address of a folder with a slash at its end: a channel of ``S3Prefix`` without it would hold the
    neighbours whose names begin alike."""
    return uri.rstrip("/") + "/"


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": folder(uri), "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _types(job: RemoteJob) -> list[str]:
    """The machine types of which the job takes one, in the order of preference."""
    named = job.machine or job.resources.machine
    return named if isinstance(named, list) else [named] if named else []


def _machines(job: RemoteJob) -> dict[str, Any]:
    disk, types = job.resources.disk, _types(job)
    found: dict[str, Any] = {
        "InstanceCount": job.resources.count,
        "VolumeSizeInGB": _DEFAULT_DISK_GB if disk is None else math.ceil(disk / 2**30),
    }
    if len(types) == 1:
        found["InstanceType"] = types[0]
    else:
        # "One count for the job": InstancePreference.InstanceCount in the SDK's model.
        found["InstancePreferences"] = [{"InstanceType": name} for name in types]
    if job.platform.encryption_key and not any(has_local_disks(name) for name in types):
        found["VolumeKmsKeyId"] = job.platform.encryption_key
    return found


def _stopping(job: RemoteJob) -> dict[str, int]:
    run = job.timeout or _DEFAULT_RUN
    if run > _LONGEST_RUN:
        raise _refused(f"train.timeout is {run}; a SageMaker training runs for at most {_LONGEST_RUN.days} days")
    found = {"MaxRuntimeInSeconds": math.ceil(run.total_seconds())}
    if job.spot:
        spot = job.resources.spot
        wait = (spot.wait if spot is not None else None) or DEFAULT_WAIT
        # "The amount of time spent waiting for Spot capacity plus the amount of time the job can run."
        found["MaxWaitTimeInSeconds"] = math.ceil((run + wait).total_seconds())
    return found


def _refused(message: str) -> PlatformError:
    return PlatformError(message, fault="user")
