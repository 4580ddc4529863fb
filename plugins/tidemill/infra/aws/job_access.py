"""What a job's own role may do: what SageMaker does on its behalf, and what the runtime in the container calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidemill.infra.aws.policy import Condition, Statement
from tidemill.infra.aws.using import Using

_INTERFACES: Final = (
    "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
    "DeleteNetworkInterfacePermission",
)  # fmt: skip
_NETWORK: Final = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")


def files(using: Using) -> Iterator[Statement]:
    """Code, data and the job's own file are read, outputs and checkpoints written."""
    yield Statement("Bucket", ("s3:ListBucket",), using.buckets)
    yield Statement("Read", ("s3:GetObject",), (f"{using.work}/*",))
    write = ("s3:AbortMultipartUpload", "s3:PutObject")
    yield Statement("Write", write, (f"{using.work}/*/jobs/*/output/*",))
    if using.checkpoints:
        yield Statement("Checkpoints", ("s3:DeleteObject", "s3:GetObject", *write), (f"{using.checkpoints}/*",))
    if using.key:
        yield Statement("Key", ("kms:Decrypt", "kms:GenerateDataKey"), (using.key,), using.by_s3)


def image(using: Using) -> Iterator[Statement]:
    """SageMaker pulls the image as the job's role. On AWS Batch the machines' does."""
    if using.service != "sagemaker" or not using.repositories:
        return
    pull = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
    yield Statement("Pull", pull, using.repositories)
    yield Statement(
        "Login",
        ("ecr:GetAuthorizationToken",),
        ("*",),
        reason="A token is for the registry: AWS knows no resource for it.",
    )


def logs(using: Using) -> Iterator[Statement]:
    """SageMaker writes the job's log and its machine's numbers as the job's role. On AWS Batch the machines' does."""
    if using.service != "sagemaker":
        return
    groups = tuple(f"{using.arn('logs')}:log-group:{group}:*" for group in using.log_groups)
    # The groups themselves are made by this root, with their retention.
    write = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
    yield Statement("Log", write, groups)
    yield Statement(
        "Numbers",
        ("cloudwatch:PutMetricData",),
        ("*",),
        (Condition("StringEquals", "cloudwatch:namespace", using.log_groups),),
        "AWS knows no resource for metrics: it is allowed on all or none. The condition is for the namespace.",
    )


def network(using: Using) -> Iterator[Statement]:
    """SageMaker puts the job's machines into the network that the spec names."""
    if not using.subnets:
        return
    ec2 = using.arn("ec2")
    places = [f"{ec2}:subnet/{name}" for name in using.subnets]
    places += [f"{ec2}:security-group/{name}" for name in using.security_groups]
    actions = tuple(f"ec2:{action}" for action in _INTERFACES)
    yield Statement("Interfaces", actions, (f"{ec2}:network-interface/*", *places))
    yield Statement(
        "Describe",
        tuple(f"ec2:Describe{what}" for what in _NETWORK),
        ("*",),
        reason="AWS knows no resource for descriptions of networks: they are allowed on all or none.",
    )


def disks(using: Using) -> Iterator[Statement]:
    """SageMaker encrypts the machines' disks with the key that the spec names."""
    if using.service == "sagemaker" and using.encrypts_disks:
        for_aws = Condition("Bool", "kms:GrantIsForAWSResource", ("true",))
        yield Statement("Grant", ("kms:CreateGrant",), (using.key,), (for_aws,))
        yield Statement("Describe", ("kms:DescribeKey",), (using.key,))
