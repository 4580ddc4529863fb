"""A job as AWS Batch takes it: a definition, which jobs of equal content share, and what one job adds to it."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import timedelta
from typing import Any, Final

from tidemill.platforms import packing
from tidemill.platforms.ports import PlatformError, RemoteJob

_ADDRESSES: Final = ("code", "data", "job", "output")
# "The minimum value for the timeout is 60 seconds": JobTimeout in the SDK's model.
_SHORTEST: Final = timedelta(seconds=60)
# "You can specify between 1 and 10 attempts": RetryStrategy in the SDK's model.
_ATTEMPTS: Final = 10
_DEFAULT_CPU: Final = 1
_DEFAULT_MEMORY: Final = 2 * 2**30
# "The total size of the job's definition and of what SubmitJob adds is at most 30 KiB"; ECS takes 8,192 characters of
# overrides, the command among them: "Service quotas", AWS Batch, and RunTask, ECS.
_MOST_COMMAND: Final = 8192


def definition_request(job: RemoteJob, region: str) -> dict[str, Any]:
    """The body of RegisterJobDefinition; its name is a hash of its content.

    Raises:
        PlatformError: a setting that Batch has no place for; the fault is the user's.
    """
    _refuse_settings(job)
    container = _container(job, region)
    body: dict[str, Any] = {
        "retryStrategy": {
            "attempts": _ATTEMPTS,
            # By reason: only a machine that was taken away or failed is worth the same job once more. The rest is
            # told to whoever asked for the job, the user's own mistakes (exit code 10) among it.
            "evaluateOnExit": [
                {"onExitCode": "10", "action": "EXIT"},
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        },
        "platformCapabilities": ["EC2"],
        "propagateTags": True,
    }
    if job.timeout is not None:
        seconds = math.ceil(max(job.timeout, _SHORTEST).total_seconds())
        body["timeout"] = {"attemptDurationSeconds": seconds}
    if job.resources.count == 1:
        body |= {"type": "container", "containerProperties": container}
    else:
        nodes = {"targetNodes": "0:", "container": container}
        body |= {
            "type": "multinode",
            "nodeProperties": {"numNodes": job.resources.count, "mainNode": 0, "nodeRangeProperties": [nodes]},
        }
    content = json.dumps(body, sort_keys=True).encode()
    return {"jobDefinitionName": f"tidemill-{hashlib.sha256(content).hexdigest()[:24]}", **body}


def submit_request(job: RemoteJob, definition: str) -> dict[str, Any]:
    """The body of SubmitJob.

    Raises:
        PlatformError: the platform names no queue; the fault is the user's.
    """
    environment = [{"name": key, "value": value} for key, value in job.environment.items()]
    parameters = {name: str(getattr(job, name)) for name in _ADDRESSES}
    if job.checkpoint is not None:
        parameters["checkpoint"] = job.checkpoint
    body: dict[str, Any] = {
        "jobName": job.name,
        "jobQueue": queue_of(job),
        "jobDefinition": definition,
        "parameters": parameters,
        "propagateTags": True,
        "tags": {**job.platform.tags, **job.tags},
    }
    if environment and job.resources.count == 1:
        body["containerOverrides"] = {"environment": environment}
    elif environment:
        overrides = {"targetNodes": "0:", "containerOverrides": {"environment": environment}}
        body["nodeOverrides"] = {"nodePropertyOverrides": [overrides]}
    return body


def queue_of(job: RemoteJob) -> str:
    """The queue that a job goes to.

    Raises:
        PlatformError: the platform names none of that kind; the fault is the user's.
    """
    queue = job.platform.spot_queue if job.spot else job.platform.queue
    if not queue:
        key = "spot_queue" if job.spot else "queue"
        raise _refused(f"AWS Batch needs a job queue: platform.{key}")
    return queue


def _container(job: RemoteJob, region: str) -> dict[str, Any]:
    resources = job.resources
    # A job's own addresses are parameters of the command: all jobs of equal content share a definition.
    marks = {f"s3://{name}": f"Ref::{name}" for name in (*_ADDRESSES, "checkpoint")}
    code, data, told, output, checkpoint = marks
    command = packing.boot_command(
        platform="batch",
        code=code,
        data=data,
        job=told,
        output=output,
        checkpoint=None if job.checkpoint is None else checkpoint,
    )
    command = [marks.get(part, part) for part in command]
    needs = [
        {"type": "VCPU", "value": str(resources.cpu or _DEFAULT_CPU)},
        {"type": "MEMORY", "value": str(math.ceil((resources.memory or _DEFAULT_MEMORY) / 2**20))},
    ]
    if resources.gpu:
        needs.append({"type": "GPU", "value": str(resources.gpu)})
    container: dict[str, Any] = {
        "image": job.image,
        "command": command,
        "resourceRequirements": needs,
        # A container on ECS is not told its region, and S3's signatures need it.
        "environment": [{"name": "AWS_REGION", "value": region}],
    }
    if job.platform.role:
        container["jobRoleArn"] = job.platform.role
    size = sum(len(part) for part in command) + sum(len(str(getattr(job, name))) for name in _ADDRESSES)
    if size > _MOST_COMMAND:
        raise PlatformError(f"the command of {job.name} has {size} characters, AWS Batch takes {_MOST_COMMAND}")
    return container


def _refuse_settings(job: RemoteJob) -> None:
    """What a job on Batch cannot have: it belongs to the compute environment behind the queue."""
    resources, platform = job.resources, job.platform
    if job.spot and resources.count > 1:
        # "Multi-node parallel jobs aren't supported on compute environments that use Spot": user guide.
        raise _refused("AWS Batch runs a training of several machines (train.resources.count) on no spot machines")
    if job.machine:
        raise _refused(
            "AWS Batch chooses the machine by the queue: name cpu, memory and gpu in train.resources, no machine"
        )
    if resources.disk is not None:
        raise _refused("AWS Batch takes disks from the queue's launch template: train.resources.disk has no effect")
    if platform.network is not None:
        raise _refused(
            "AWS Batch takes the network from the queue's compute environment: platform.network has no effect"
        )


def _refused(message: str) -> PlatformError:
    return PlatformError(message, fault="user")
