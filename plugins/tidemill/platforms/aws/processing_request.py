"""A processing job as SageMaker's CreateProcessingJob takes it."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final

from tidemill.platforms import packing
from tidemill.platforms.aws.training_request import folder
from tidemill.platforms.capabilities import has_local_disks
from tidemill.platforms.ports import PlatformError, RemoteJob

BASE: Final = "/opt/ml/processing"
INPUTS: Final = f"{BASE}/input"
OUTPUT: Final = f"{BASE}/output"
MESSAGE: Final = "/opt/ml/output/message"
"""What a container writes there is the job's ``ExitMessage``, 1 KB at most: "Save and Access Metadata Information About
Your Processing Job", developer guide."""
# ProcessingMaxRuntimeInSeconds and ProcessingInstancePreferenceList in the SDK's model; the default is Tidemill's own.
_DEFAULT_RUN: Final = timedelta(days=1)
_DEFAULT_DISK_GB: Final = 30


def processing_request(job: RemoteJob) -> dict[str, Any]:
    """The request's body.

    Raises:
        PlatformError: a setting is missing; the fault is the user's.
    """
    platform = job.platform
    if not platform.role:
        raise PlatformError("SageMaker needs a role that jobs run as: platform.role", fault="user")
    command = packing.processing_command(code=f"{INPUTS}/code", inputs=INPUTS, output=OUTPUT, message=MESSAGE)
    folders = {"code": job.code, "job": job.job, **job.inputs}
    body: dict[str, Any] = {
        "ProcessingJobName": job.name,
        "RoleArn": platform.role,
        # An entry has at most 256 characters, a list at most 100 entries.
        "AppSpecification": {
            "ImageUri": job.image,
            "ContainerEntrypoint": command[:3],
            "ContainerArguments": command[3:],
        },
        "ProcessingInputs": [_input(name, uri) for name, uri in folders.items()],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "output",
                    "S3Output": {
                        "S3Uri": job.output.rstrip("/"),
                        "LocalPath": OUTPUT,
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {"ClusterConfig": _machines(job)},
        "StoppingCondition": {"MaxRuntimeInSeconds": math.ceil((job.timeout or _DEFAULT_RUN).total_seconds())},
        "Tags": [{"Key": key, "Value": value} for key, value in {**platform.tags, **job.tags}.items()],
        "Environment": dict(job.environment),
    }
    if platform.encryption_key:
        body["ProcessingOutputConfig"]["KmsKeyId"] = platform.encryption_key
    network = platform.network
    if network is not None:
        body["NetworkConfig"] = {"EnableNetworkIsolation": network.isolated}
        if network.subnets or network.security_groups:
            body["NetworkConfig"]["VpcConfig"] = {
                "Subnets": network.subnets,
                "SecurityGroupIds": network.security_groups,
            }
    return body


def _input(name: str, uri: str) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": folder(uri),
            "LocalPath": f"{INPUTS}/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
        },
    }


def _machines(job: RemoteJob) -> dict[str, Any]:
    named = job.resources.machine
    types = named if isinstance(named, list) else [named] if named else []
    if not types:
        raise PlatformError("SageMaker needs a machine type: platform.processing.machine", fault="user")
    disk = job.resources.disk
    found: dict[str, Any] = {"VolumeSizeInGB": _DEFAULT_DISK_GB if disk is None else math.ceil(disk / 2**30)}
    if len(types) == 1:
        found |= {"InstanceType": types[0], "InstanceCount": 1}
    else:
        # "InstancePreferences is mutually exclusive with InstanceType": ProcessingClusterConfig in the SDK's model.
        found["InstancePreferences"] = [{"InstanceType": name, "InstanceCount": 1} for name in types]
    if job.platform.encryption_key and not any(has_local_disks(name) for name in types):
        found["VolumeKmsKeyId"] = job.platform.encryption_key
    return found
