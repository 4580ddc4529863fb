"""The needs of pipelines on AWS as a root of Terraform."""

from __future__ import annotations

from typing import Final

from tidemill.infra.aws import access, running, stored
from tidemill.infra.aws.alarms import alarms_of
from tidemill.infra.aws.base import Aws
from tidemill.infra.aws.using import bucket_of, role_of
from tidemill.infra.hcl import Attribute, Block, Raw, Template, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import InfraProblem, Needs
from tidemill.infra.root import Made, Root
from tidemill.platforms.aws.metrics import NAMESPACE, plain
from tidemill.platforms.tags import common

_ALARM: Final = Limit("an alarm's name", 255)
"""PutMetricAlarm, CloudWatch's API reference, November 2026."""


def render(needs: Needs, prefix: str) -> Root:
    """The root.

    Raises:
        InfraProblem: the specs are of several accounts or regions, or a name grows too long.
    """
    aws = Aws(needs, prefix, Root(__package__))
    _place(aws)
    stored.keys(aws)
    stored.buckets(aws)
    stored.logs(aws)
    stored.repositories(aws)
    running.queues(aws)
    running.endpoints(aws)
    access.grant(aws)
    _alarms(aws)
    _outputs(aws)
    _tell(aws)
    return aws.root


def _place(aws: Aws) -> None:
    """The provider, its region and account."""
    needs = aws.needs
    region = needs.one("platform.region", lambda p: p.platform.region, "region")
    found = {p.name: role_of(p.platform.role) for p in needs.pipelines}
    needs.one("platform.role", lambda p: role.account if (role := found[p.name]) else None, "account")
    role = next(filter(None, found.values()), None)
    if region is None or role is None:
        asked = needs.pipelines[0].asked("platform")
        raise InfraProblem(f"{asked}: the account is that of platform.role, the region platform.region: name both")
    if role.partition == "aws-cn":
        asked = needs.pipelines[0].asked("platform.role")
        raise InfraProblem(f"{asked}: nothing is written for AWS in China, whose services have other names in policies")
    first = needs.pipelines
    aws.root.variable("prefix", "string", "What names begin with that no spec says.", aws.prefix)
    aws.root.variable("region", "string", "The region.", region, [p.asked("platform.region") for p in first])
    aws.root.variable(
        "account", "string", "The account; Terraform refuses another one.", role.account,
        [p.asked("platform.role") for p in first],
    )  # fmt: skip
    aws.root.variable("tags", "map(string)", "Tags of everything.", {**common(p.tags for p in needs.pipelines)})
    tags = Block("default_tags", (), (Attribute("tags", Raw("var.tags")),))
    body = (
        Attribute("region", Raw("var.region")),
        Attribute("allowed_account_ids", [Raw("var.account")]),
        tags,
    )
    aws.root.main.append(Block("provider", ("aws",), body))


def _alarms(aws: Aws) -> None:
    for pipeline in aws.needs.pipelines:
        alarms = alarms_of(pipeline)
        if not alarms:
            continue
        topics = aws.root.variable(
            "alarm_topics", "list(string)", "ARNs of what is told of alarms, e.g. SNS topics.", []
        )
        for end in alarms:
            checked(f"{aws.prefix}-{pipeline.name}-{end}", _ALARM, (pipeline.asked("monitor"),))
        inputs: dict[str, Value] = {
            "prefix": Raw(f'"${{var.prefix}}-{pipeline.name}"'),
            "namespace": NAMESPACE,
            "dimensions": {"dag_id": plain(pipeline.monitor_dag), "model": plain(pipeline.model)},
            "alarms": alarms,
            "topics": topics,
        }
        made = Made("alarms", pipeline.name, (pipeline.asked("monitor"),))
        aws.root.module("alarms", aws.root.label("alarms", pipeline.name, made.asked), inputs, made)


def _outputs(aws: Aws) -> None:
    """What each pipeline's ``platform:`` says, as it stands once this root is applied."""
    told: dict[str, Value] = {}
    for pipeline in aws.needs.pipelines:
        platform = pipeline.platform
        bucket, path = bucket_of(platform.bucket or "")
        role = aws.role_arns.get(platform.role or "")
        values: dict[str, Value] = {
            "region": Raw("var.region"),
            "bucket": Template(f"s3://${{var.{identifier(f'bucket_{bucket}')}}}{f'/{path}' if path else ''}"),
            "role": Raw(role) if role else Template(aws.role_arn(role_of(platform.role) or aws.role)),
        }
        if pipeline.service == "batch":
            queues = {"queue": platform.queue, "spot_queue": platform.spot_queue}
            values |= {key: _queue(aws, queue) for key, queue in queues.items() if queue}
        told[pipeline.name] = values
    aws.root.output("platform", told, "What the specs' platform: sections say, by pipeline.")


def _queue(aws: Aws, queue: str) -> Value:
    label = identifier(f"queue_{queue.rpartition('/')[2]}")
    if label not in aws.root.variables:
        return queue
    return Template(f"{queue[: queue.rfind('/') + 1]}${{var.{label}}}")


def _tell(aws: Aws) -> None:
    """What a person has to know before applying this."""
    root, modules = aws.root, aws.root.modules
    root.notes.append(
        "`airflow_roles`: the names of the roles that Airflow's workers and triggerer run as. Whoever signs otherwise "
        "is given the policies that the outputs name."
    )
    if "machines" in modules:
        root.notes.append("`batch_subnets` and `batch_security_groups` have to be given: no spec names them.")
    if "logs" in modules:
        root.notes.append(
            "The services prescribe their log groups' names. Where one is there already, from other jobs of the "
            "account, say `existing: [logs]` in the spec's platform, or import it."
        )
    if aws.named_keys and "logs" in modules:
        root.notes.append("The policy of a key that a spec names has to let CloudWatch Logs use it.")
    if "repository" in modules:
        root.notes.append("Push the image before the first training; a tag cannot be pushed again.")
    if "bucket" in modules:
        root.teardown.append("Buckets are kept: empty them, and take `prevent_destroy` out of `modules/bucket` first.")
    if "repository" in modules:
        root.teardown.append("A repository with images in it is kept: delete the images first.")
    if "key" in modules:
        root.teardown.append("What the key encrypted can be read for 30 days more, and then never again.")
