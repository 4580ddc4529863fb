"""What trainings run on: queues and their machines, and the way from their subnets to S3."""

from __future__ import annotations

from typing import Final

from tidemill.infra.aws.base import Aws
from tidemill.infra.hcl import Raw, Value
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Named, Pipeline
from tidemill.infra.root import Made

# Quotas of IAM ("IAM and AWS STS quotas") and Batch (CreateComputeEnvironment; Terraform adds 26 characters to a
# prefix): the services' own references, November 2026.
_PROFILE: Final = Limit("an IAM role's name", 64)
_ENVIRONMENT: Final = Limit("a compute environment's name (Terraform adds 27)", 128 - 27)


def queues(aws: Aws) -> None:
    """The queues of AWS Batch, on demand and of spot machines."""

    def named(key: str) -> tuple[Named, ...]:
        return aws.needs.named(f"platform.{key}", lambda p: getattr(p.platform, key) if p.service == "batch" else None)

    for queue in named("queue"):
        _queue(aws, queue, spot=False)
    for queue in named("spot_queue"):
        _queue(aws, queue, spot=True)


def _queue(aws: Aws, queue: Named, *, spot: bool) -> None:
    name = queue.name.rpartition("/")[2]
    made = Made("queue of spot machines" if spot else "queue", name, queue.asked)
    if queue.existing:
        aws.root.used.append(made)
        return
    checked(name, _ENVIRONMENT, queue.asked)
    if "machines" not in aws.root.modules:
        _machines(aws, queue)
    label = aws.root.label("queue", name, queue.asked)
    needed = [pipeline.spec.train.resources for pipeline in queue.users]
    processors = sum((one.cpu or 1) * one.count for one in needed)
    machines: list[Value] = ["g4dn", "g5"] if any(one.gpu for one in needed) else ["optimal"]
    aws.root.module(
        "queue",
        label,
        {
            "name": aws.root.variable(label, "string", "A queue's name.", name, queue.asked),
            "spot": spot,
            "max_vcpus": aws.root.variable(
                f"{label}_max_vcpus", "number", "Processors at most: at first, each training once.", processors
            ),
            "instance_types": aws.root.variable(
                f"{label}_machines", "list(string)", "Machine types or families.", machines
            ),
            "instance_profile_arn": Raw("module.machines.instance_profile_arn"),
            "subnets": Raw("var.batch_subnets"),
            "security_groups": Raw("var.batch_security_groups"),
        },
        made,
    )


def _machines(aws: Aws, queue: Named) -> None:
    checked(f"{aws.prefix}-batch", _PROFILE, queue.asked)
    aws.root.variable("batch_subnets", "list(string)", "The subnets of the queues' machines.")
    aws.root.variable("batch_security_groups", "list(string)", "The security groups of the queues' machines.")
    made = Made("role of the queues' machines", f"{aws.prefix}-batch", queue.asked)
    aws.root.module("machines", "machines", {"name": Raw('"${var.prefix}-batch"'), "partition": aws.partition}, made)


def endpoints(aws: Aws) -> None:
    """The way to S3 from the subnets that specs name."""

    def subnets(pipeline: Pipeline) -> str | None:
        network = pipeline.platform.network
        return ",".join(sorted(network.subnets)) or None if network is not None else None

    for found in aws.needs.named("platform.network", subnets):
        names: list[Value] = [*found.name.split(",")]
        label = aws.root.label("endpoint", str(names[0]), found.asked)
        made = Made("endpoint of S3", found.name, found.asked)
        if found.existing:
            aws.root.used.append(made)
            continue
        given = aws.root.variable(f"{label}_subnets", "set(string)", "Subnets that jobs run in.", names, found.asked)
        aws.root.module("endpoint", label, {"subnets": given, "region": Raw("var.region")}, made)
