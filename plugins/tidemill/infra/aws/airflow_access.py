"""What Airflow's tasks and its triggerer call on AWS, as policies: one for each step.

Each statement names the calls of one place in ``platforms/aws``; the emulator's tests hold every call they see against
these policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidemill.infra.aws.policy import Condition, Statement
from tidemill.infra.aws.using import Using
from tidemill.platforms.aws.metrics import NAMESPACE

_NO_RESOURCE: Final = "AWS knows no resource for {}: it is allowed on all or none."
_SERVICES: Final = {"sagemaker": "sagemaker.amazonaws.com", "batch": "ecs-tasks.amazonaws.com"}


def train(using: Using) -> Iterator[Statement]:
    """The task ``train``: brings files, submits, looks, fetches."""
    yield from _files(using)
    if using.service == "sagemaker":
        yield _sagemaker_jobs(using, "Training")
    else:
        batch = using.arn("batch")
        yield Statement("Definitions", ("batch:RegisterJobDefinition",), (f"{batch}:job-definition/tidemill-*",))
        yield Statement("Submit", ("batch:SubmitJob",), (f"{batch}:job-definition/tidemill-*", *using.queues))
        yield Statement(
            "Tag",
            ("batch:TagResource",),
            (f"{batch}:job-definition/tidemill-*", f"{batch}:job/*"),
            using.ours("Request"),
        )
        yield Statement(
            "Find",
            ("batch:DescribeJobDefinitions", "batch:ListJobs"),
            ("*",),
            reason=_NO_RESOURCE.format("lists of AWS Batch"),
        )
    yield _pass_role(using)
    yield from wait(using)


def process(using: Using) -> Iterator[Statement]:
    """Steps that compute over rows as SageMaker processing jobs: they bring files, submit, look, fetch."""
    yield from _files(using)
    yield _sagemaker_jobs(using, "Processing")
    yield _pass_role(using)
    yield from _watch(using, "Processing")


def wait(using: Using) -> Iterator[Statement]:
    """The triggerer while the task waits, and whoever ends the job with its task."""
    if using.service == "sagemaker":
        yield from _watch(using, "Training")
        if using.processes:
            yield from _watch(using, "Processing")
    else:
        yield Statement(
            "Watch", ("batch:DescribeJobs",), ("*",), reason=_NO_RESOURCE.format("descriptions of AWS Batch's jobs")
        )
        yield Statement("Stop", ("batch:TerminateJob",), (f"{using.arn('batch')}:job/*",), using.ours("Resource"))


def track(using: Using) -> Iterator[Statement]:
    """The training written to SageMaker Experiments, in the task ``train``."""
    sagemaker = using.arn("sagemaker")
    actions = (
        "AddTags", "AssociateTrialComponent", "BatchPutMetrics", "CreateExperiment", "CreateTrial",
        "CreateTrialComponent", "DescribeTrialComponent", "UpdateTrialComponent",
    )  # fmt: skip
    kinds = (f"experiment/{using.experiment}", "experiment-trial/tm-*", "experiment-trial-component/tm-*")
    yield Statement(
        "Experiments",
        tuple(f"sagemaker:{action}" for action in actions),
        tuple(f"{sagemaker}:{kind}" for kind in kinds),
    )


def monitor(using: Using) -> Iterator[Statement]:
    """The task ``monitor``: its numbers."""
    yield Statement(
        "Numbers",
        ("cloudwatch:PutMetricData",),
        ("*",),
        (Condition("StringEquals", "cloudwatch:namespace", (NAMESPACE,)),),
        _NO_RESOURCE.format("metrics") + " The condition is for the namespace.",
    )


def versions(using: Using) -> Iterator[Statement]:
    """The data versions in the bucket: kept by the task ``data``, read by those that need the rows."""
    yield from _files(using)
    yield Statement("Versions", ("s3:GetObjectVersion",), (f"{using.work}/*",))
    # What a bucket without versions took is removed again.
    yield Statement("NotKept", ("s3:DeleteObject",), (f"{using.work}/*/versions/*",))
    if using.keeps_for:
        rules = ("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration")
        yield Statement("Lifecycle", rules, (using.bucket,))


def _sagemaker_jobs(using: Using, kind: str) -> Statement:
    actions = ("AddTags", f"Create{kind}Job", "ListTags")
    jobs = (f"{using.arn('sagemaker')}:{kind.lower()}-job/tm-*",)
    return Statement(f"{kind}Jobs", tuple(f"sagemaker:{action}" for action in actions), jobs)


def _watch(using: Using, kind: str) -> Iterator[Statement]:
    jobs = (f"{using.arn('sagemaker')}:{kind.lower()}-job/tm-*",)
    yield Statement(f"Watch{kind}", (f"sagemaker:Describe{kind}Job", f"sagemaker:Stop{kind}Job"), jobs)
    reason = _NO_RESOURCE.format(f"a list of {kind.lower()} jobs")
    yield Statement(f"List{kind}", (f"sagemaker:List{kind}Jobs",), ("*",), reason=reason)


def _pass_role(using: Using) -> Statement:
    service = Condition("StringEquals", "iam:PassedToService", (_SERVICES[using.service],))
    return Statement("PassRole", ("iam:PassRole",), (using.role,), (service,))


def _files(using: Using) -> Iterator[Statement]:
    yield Statement("Bucket", ("s3:ListBucket",), (using.bucket,))
    yield Statement("Files", ("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"), (f"{using.work}/*",))
    if using.key:
        yield Statement("Key", ("kms:Decrypt", "kms:GenerateDataKey"), (using.key,), using.by_s3)
