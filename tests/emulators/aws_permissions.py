"""What IAM asks whether a caller may do, of each call: actions, each with its resource and the request's context.

By the "Service Authorization Reference": actions, resources, condition keys of S3, SageMaker, Batch, CloudWatch, IAM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

ACCOUNT: Final = "123456789012"
_S3: Final = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
}
"""Operation → action, where they differ."""
_VERSIONED: Final = {"GetObject": "GetObjectVersion", "DeleteObject": "DeleteObjectVersion"}
_NAMES: Final = {
    "TrainingJob": ("training-job", "TrainingJobName"),
    "ProcessingJob": ("processing-job", "ProcessingJobName"),
    "Experiment": ("experiment", "ExperimentName"),
    "Trial": ("experiment-trial", "TrialName"),
    "TrialComponent": ("experiment-trial-component", "TrialComponentName"),
}
"""The end of an operation's name → the kind of resource, and the parameter with its name."""


@dataclass(frozen=True)
class Asked:
    """Whether ``who`` (``connection``, ``job``) may do ``action`` with ``resource`` in this context."""

    who: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


class Permissions:
    """Collects what was asked. Threads may share it; what is asked again is kept once."""

    def __init__(self) -> None:
        self._seen: dict[str, Asked] = {}

    def see(self, asked: Iterator[Asked]) -> None:
        """Keep some."""
        for one in asked:
            self._seen.setdefault(repr(one), one)

    def report(self) -> list[dict[str, Any]]:
        """All of them, as JSON."""
        return [asdict(one) for one in list(self._seen.values())]


def of_s3(who: str, operation: str, path: str, *, versioned: bool) -> Iterator[Asked]:
    """A call of S3."""
    bucket, _, key = path.lstrip("/").partition("/")
    action = _S3.get(operation, operation)
    if versioned:
        action = _VERSIONED.get(action, action)
    yield Asked(who, f"s3:{action}", f"arn:aws:s3:::{bucket}{f'/{key}' if key else ''}")


def of_sagemaker(who: str, operation: str, region: str, body: Mapping[str, Any]) -> Iterator[Asked]:
    """A call of SageMaker or of its metrics."""
    base = f"arn:aws:sagemaker:{region}:{ACCOUNT}"
    if operation == "AssociateTrialComponent":
        for end in ("Trial", "TrialComponent"):
            kind, name = _NAMES[end]
            yield Asked(who, f"sagemaker:{operation}", f"{base}:{kind}/{body[name].lower()}")
        return
    if operation == "BatchPutMetrics":
        resource = f"{base}:experiment-trial-component/{body['TrialComponentName'].lower()}"
    elif "ResourceArn" in body:
        resource = body["ResourceArn"]
    else:
        ends = [end for end in _NAMES if operation.endswith(end)]
        kind, name = _NAMES[max(ends, key=len)] if ends else ("", "")
        resource = f"{base}:{kind}/{str(body[name]).lower()}" if ends else "*"
    yield Asked(who, f"sagemaker:{operation}", resource)
    if operation.startswith("Create") and body.get("Tags"):
        yield Asked(who, "sagemaker:AddTags", resource)
    if "RoleArn" in body:
        yield Asked(who, "iam:PassRole", body["RoleArn"], {"iam:PassedToService": "sagemaker.amazonaws.com"})


def of_batch(
    who: str, operation: str, region: str, body: Mapping[str, Any], tags_of: Callable[[str], Mapping[str, str]]
) -> Iterator[Asked]:
    """A call of AWS Batch; ``tags_of`` gives the tags of a job by its id."""
    base = f"arn:aws:batch:{region}:{ACCOUNT}"

    def tags(told: Mapping[str, str], of: str) -> dict[str, str]:
        return {f"aws:{of}Tag/{key}": value for key, value in told.items()}

    given = tags(body.get("tags", {}), "Request")
    if operation == "SubmitJob":
        for kind, name in (("job-definition", body["jobDefinition"]), ("job-queue", body["jobQueue"])):
            plain = str(name).rpartition("/")[2]
            yield Asked(who, "batch:SubmitJob", f"{base}:{kind}/{plain}", given)
        if given:
            yield Asked(who, "batch:TagResource", f"{base}:job/new", given)
    elif operation == "RegisterJobDefinition":
        yield Asked(who, "batch:RegisterJobDefinition", f"{base}:job-definition/{body['jobDefinitionName']}", given)
        nodes = body.get("nodeProperties", {}).get("nodeRangeProperties", [])
        for container in [body.get("containerProperties", {}), *(node["container"] for node in nodes)]:
            if role := container.get("jobRoleArn"):
                yield Asked(who, "iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
    elif operation == "TerminateJob":
        yield Asked(who, "batch:TerminateJob", f"{base}:job/{body['jobId']}", tags(tags_of(body["jobId"]), "Resource"))
    else:
        yield Asked(who, f"batch:{operation}", "*")


def of_cloudwatch(who: str, operation: str, body: Mapping[str, Any]) -> Iterator[Asked]:
    """A call of CloudWatch."""
    yield Asked(who, f"cloudwatch:{operation}", "*", {"cloudwatch:namespace": body.get("Namespace", "")})
