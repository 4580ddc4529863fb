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
    yield Statement("Bucket", ("s3:ListBucket",), (using.bucket,))
    yield Statement("Files", ("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"), (f"{using.work}/*",))
    yield from _key(using)
    if using.service == "sagemaker":
        jobs = (f"{using.arn('sagemaker')}:training-job/tm-*",)
        actions = ("AddTags", "CreateTrainingJob", "ListTags")
        yield Statement("Jobs", tuple(f"sagemaker:{action}" for action in actions), jobs)
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
    yield Statement(
        "PassRole",
        ("iam:PassRole",),
        (using.role,),
        (Condition("StringEquals", "iam:PassedToService", (_SERVICES[using.service],)),),
    )
    yield from wait(using)


def wait(using: Using) -> Iterator[Statement]:
    """The triggerer while the task waits, and whoever ends the job with its task."""
    if using.service == "sagemaker":
        jobs = (f"{using.arn('sagemaker')}:training-job/tm-*",)
        yield Statement("Watch", ("sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"), jobs)
        lists = "sagemaker:ListTrainingJobs"
        yield Statement("List", (lists,), ("*",), reason=_NO_RESOURCE.format("a list of training jobs"))
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


def _key(using: Using) -> Iterator[Statement]:
    if using.key:
        yield Statement("Key", ("kms:Decrypt", "kms:GenerateDataKey"), (using.key,), using.by_s3)
