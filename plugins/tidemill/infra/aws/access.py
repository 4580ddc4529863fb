"""Who may do what: the roles that jobs run as, and the policies of those that Airflow's connections sign as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tidemill.infra.aws import airflow_access, job_access
from tidemill.infra.aws.base import Aws, groups_of, images_of
from tidemill.infra.aws.policy import Statement, document, merged
from tidemill.infra.aws.using import Using, bucket_of, image_of, role_of
from tidemill.infra.hcl import Raw, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Asked, Named, Pipeline
from tidemill.infra.root import Made, comment
from tidemill.platforms.aws.tracking import name_of as experiment_of

_POLICY: Final = Limit("an IAM policy's name", 128)
"""IAM and AWS STS quotas, IAM's user guide, November 2026."""
_TRUSTED: Final = {"sagemaker": "sagemaker.amazonaws.com", "batch": "ecs-tasks.amazonaws.com"}

_Maker = Callable[[Using], Iterator[Statement]]
_STEPS: Final[dict[str, _Maker]] = {
    "train": airflow_access.train,
    "wait": airflow_access.wait,
    "track": airflow_access.track,
    "process": airflow_access.process,
    "versions": airflow_access.versions,
    "monitor": airflow_access.monitor,
}
_JOBS: Final[dict[str, _Maker]] = {
    "files": job_access.files,
    "image": job_access.image,
    "logs": job_access.logs,
    "network": job_access.network,
    "disks": job_access.disks,
}


def grant(aws: Aws) -> None:
    """Everybody's rights."""
    for found in aws.needs.named("platform.role", lambda p: p.platform.role):
        aws.role_label(role_of(found.name) or aws.role, found.asked)
    using = {pipeline.name: _using(aws, pipeline) for pipeline in aws.needs.pipelines}
    _roles(aws, using)
    _airflow(aws, using)


def _using(aws: Aws, pipeline: Pipeline) -> Using:
    platform, train = pipeline.platform, pipeline.spec.train
    bucket, path = bucket_of(platform.bucket or "")
    spot, network = train.resources.spot, platform.network
    images = [image for _, address in images_of(pipeline) if (image := image_of(address))]
    kept, below = bucket_of(spot.checkpoint) if spot is not None else ("", "")
    base = f"arn:{aws.partition}"
    own = role_of(platform.role) or aws.role
    queues = [q for q in (platform.queue, platform.spot_queue) if q and pipeline.service == "batch"]
    key = aws.key(pipeline)
    return Using(
        partition=aws.partition,
        service=pipeline.service,
        bucket=aws.bucket_arns[bucket],
        work="/".join(filter(None, (aws.bucket_arns[bucket], path, "tidemill"))),
        role=aws.role_arn(own),
        experiment=experiment_of(pipeline.name).lower(),
        log_groups=groups_of(pipeline),
        checkpoints="/".join(filter(None, (aws.bucket_arns[kept], below))) if kept else "",
        checkpoint_bucket=aws.bucket_arns[kept] if kept else "",
        queues=tuple(_queue_arn(aws, queue, base) for queue in queues),
        repositories=tuple(sorted({f"{base}:ecr:{i.region}:{i.account}:repository/{i.name}" for i in images})),
        processes="process" in pipeline.tasks,
        keeps_for="versions" in pipeline.tasks and pipeline.spec.data.keep is not None,
        key=f"${{{key}}}" if key else "",
        encrypts_disks=bool(platform.encryption_key),
        subnets=tuple(network.subnets) if network else (),
        security_groups=tuple(network.security_groups) if network else (),
    )


def _queue_arn(aws: Aws, queue: str, base: str) -> str:
    plain = queue.rpartition("/")[2]
    label = identifier(f"queue_{plain}")
    name = f"${{var.{label}}}" if label in aws.root.variables else plain
    return f"{base}:batch:${{var.region}}:${{var.account}}:job-queue/{name}"


def _roles(aws: Aws, using: dict[str, Using]) -> None:
    for found in aws.needs.named("platform.role", lambda p: p.platform.role):
        role = role_of(found.name) or aws.role
        label = aws.role_label(role, found.asked)
        made = Made("role of jobs", role.name, found.asked)
        used = [using[pipeline.name] for pipeline in found.users]
        if found.existing:
            aws.root.used.append(made)
            _elsewhere(aws, label, role.name, used, found)
            continue
        policies = _policies(aws, label, _JOBS, dict.fromkeys(_JOBS, used), found.asked)
        services: list[Value] = [_TRUSTED[service] for service in sorted({one.service for one in used})]
        inputs: dict[str, Value] = {
            "name": Raw(f"var.{label}"),
            "path": role.path,
            "account": Raw("var.account"),
            "services": services,
            "policies": policies,
        }
        aws.role_arns[found.name] = f"{aws.root.module('role', label, inputs, made)}.arn"


def _elsewhere(aws: Aws, label: str, name: str, used: list[Using], found: Named) -> None:
    """At another place, what jobs may do there is added to the role that the platform's own root created."""
    if any(p.home is None or "role" in p.home.existing for p in found.users):
        return
    policies = _policies(aws, label, _JOBS, dict.fromkeys(_JOBS, used), found.asked)
    made = Made("policies of jobs here, for the role", name, found.asked)
    inputs: dict[str, Value] = {"prefix": Raw("var.prefix"), "role": Raw(f"var.{label}"), "policies": policies}
    aws.root.module("grants", f"grants_{label}", inputs, made)


def _airflow(aws: Aws, using: dict[str, Using]) -> None:
    aws.root.variable(
        "airflow_roles", "set(string)",
        "Names of the roles that Airflow's workers and triggerer run as: they get the policies of the steps.", [],
    )  # fmt: skip
    for found in aws.needs.named("platform.connection", lambda p: p.connection):
        label = aws.root.label("airflow", found.name, found.asked)
        steps = {
            step: [using[p.name] for p in found.users if ("train" if step == "wait" else step) in p.tasks]
            for step in _STEPS
        }
        plain = identifier(found.name).replace("_", "-")
        for step in steps:
            checked(f"{aws.prefix}-{plain}-{step}", _POLICY, found.asked)
        inputs: dict[str, Value] = {
            "prefix": Raw(f'"${{var.prefix}}-{plain}"'),
            "policies": _policies(aws, label, _STEPS, steps, found.asked),
            "roles": Raw("var.airflow_roles"),
        }
        made = Made("policies of the connection", found.name, found.asked)
        aws.root.output(f"{label}_policies", Raw(f"{aws.root.module('airflow', label, inputs, made)}.policies"),
                         f"The policies for who the connection {found.name} signs as, by step.")  # fmt: skip


def _policies(
    aws: Aws,
    label: str,
    makers: dict[str, _Maker],
    users: dict[str, list[Using]],
    asked: tuple[Asked, ...],
) -> dict[str, Value]:
    """A document for each thing that is done; returns what a module takes."""
    found: dict[str, Value] = {}
    for what, make in makers.items():
        statements = merged(_all(make, users[what]))
        if not statements:
            continue
        told = " ".join((make.__doc__ or "").split())
        aws.root.access.append(document(f"{label}_{what}", statements, f"{told}\n{comment(asked)}"))
        aws.root.policies[f"{label}_{what}"] = statements
        found[what] = Raw(f"data.aws_iam_policy_document.{label}_{what}.json")
    return found


def _all(make: _Maker, users: Iterable[Using]) -> Iterator[Statement]:
    for using in users:
        yield from make(using)
