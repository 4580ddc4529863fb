"""What pipelines store: keys, buckets, logs, images."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.infra.aws.base import GROUPS, Aws
from tidemill.infra.aws.using import bucket_of, image_of, role_of
from tidemill.infra.hcl import Attribute, Block, Raw, Value
from tidemill.infra.needs import Asked, Pipeline
from tidemill.infra.root import Made, comment


def keys(aws: Aws) -> None:
    """The keys that specs name are looked up; where a spec names none, one is created for what is created."""
    for key in aws.needs.named("platform.encryption_key", lambda p: p.platform.encryption_key):
        label = aws.root.label("key", key.name.rpartition("/")[2], key.asked)
        given = aws.root.variable(label, "string", "The key that encrypts.", key.name, key.asked)
        body = (Attribute("key_id", given),)
        aws.root.main.append(Block("data", ("aws_kms_key", label), body, comment(key.asked)))
        aws.named_keys[key.name] = f"data.aws_kms_key.{label}.arn"
        aws.root.used.append(Made("encryption key", key.name, key.asked))
    without = [p for p in aws.needs.pipelines if not p.platform.encryption_key]
    needed = [p for p in without if {"bucket", "logs"} - p.existing or ("image" not in p.existing and repository(p))]
    if not needed:
        return
    asked = tuple(p.asked("platform.bucket") for p in needed)
    aws.root.module(
        "key",
        "key",
        {
            "alias": Raw("var.prefix"),
            "account": Raw("var.account"),
            "region": Raw("var.region"),
            "partition": aws.partition,
            "encrypts_logs": any("logs" not in p.existing for p in needed),
        },
        Made("encryption key", f"alias/{aws.prefix}", asked),
    )
    aws.created_key = "module.key.arn"


def buckets(aws: Aws) -> None:
    """Every bucket that anything is kept in, with how long."""
    expire: dict[str, dict[str, Value]] = {}
    asked: dict[str, list[Asked]] = {}
    users: dict[str, list[Pipeline]] = {}
    for pipeline in aws.needs.pipelines:
        for key, address, below, days in _places(aws, pipeline):
            bucket, path = bucket_of(address)
            prefix = "/".join(filter(None, (path, below))) + "/"
            expire.setdefault(bucket, {})[prefix.lstrip("/")] = days
            asked.setdefault(bucket, []).append(pipeline.asked(key))
            users.setdefault(bucket, []).append(pipeline)
    for name in sorted(expire):
        _bucket(aws, name, expire[name], tuple(asked[name]), users[name])
    if any("bucket" not in p.existing for p in aws.needs.pipelines):
        aws.root.variable("work_days", "number", "Days for which code, data and outputs of jobs are kept.", 180)
        aws.root.variable("checkpoint_days", "number", "Days for which checkpoints are kept.", 30)
        aws.root.variable("noncurrent_days", "number", "Days for which a replaced version is kept.", 30)


def _places(aws: Aws, pipeline: Pipeline) -> Iterator[tuple[str, str, str, Raw]]:
    """Where a pipeline keeps what: the spec's key, an address, the folder below it, and how long."""
    if pipeline.platform.bucket:
        yield "platform.bucket", pipeline.platform.bucket, "tidemill", Raw("var.work_days")
    spot = pipeline.spec.train.resources.spot
    if spot is not None:
        yield "train.resources.spot.checkpoint", spot.checkpoint, "", Raw("var.checkpoint_days")


def _bucket(aws: Aws, name: str, expire: dict[str, Value], asked: tuple[Asked, ...], users: list[Pipeline]) -> None:
    label = aws.root.label("bucket", name, asked)
    variable = aws.root.variable(label, "string", "A bucket's name.", name, asked)
    aws.bucket_arns[name] = f"arn:{aws.partition}:s3:::${{{variable}}}"
    # Of pipelines that disagree about it, `needs.named` complains.
    (found,) = (one for one in aws.needs.named("platform.bucket", lambda p: name if p in users else None))
    made = Made("bucket", name, asked)
    if found.existing:
        aws.root.used.append(made)
        return
    aws.root.module(
        "bucket",
        label,
        {
            "name": variable,
            "kms_key_arn": Raw(aws.key(users[0])),
            "noncurrent_days": Raw("var.noncurrent_days"),
            "expire_days": dict(sorted(expire.items())),
        },
        made,
    )


def logs(aws: Aws) -> None:
    """The log groups of the services that train."""
    for group in aws.needs.named("train.service", lambda p: GROUPS[p.service], "logs"):
        made = Made("log group", group.name, group.asked)
        if group.existing:
            aws.root.used.append(made)
            continue
        service = group.users[0].service
        days = aws.root.variable("log_days", "number", "Days for which logs are kept.", 365)
        key = aws.named_keys.get(group.users[0].platform.encryption_key or "", aws.created_key)
        inputs = {"name": group.name, "retention_days": days, "kms_key_arn": Raw(key)}
        aws.root.module("logs", f"logs_{service}", inputs, made)


def repositories(aws: Aws) -> None:
    """Repositories of the account's own ECR; what lies elsewhere is somebody else's."""
    for found in aws.needs.named("train.image", repository):
        made = Made("image repository", found.name, found.asked)
        if found.existing:
            aws.root.used.append(made)
            continue
        label = aws.root.label("repository", found.name, found.asked)
        days = aws.root.variable("untagged_days", "number", "Days for which images without a tag are kept.", 14)
        key = aws.named_keys.get(found.users[0].platform.encryption_key or "", aws.created_key)
        inputs = {"name": found.name, "kms_key_arn": Raw(key), "untagged_days": days}
        aws.root.output(f"{label}_url", Raw(f"{aws.root.module('repository', label, inputs, made)}.url"),
                         "What images are pushed to.")  # fmt: skip


def repository(pipeline: Pipeline) -> str | None:
    """The repository of a pipeline's image, if it is one of the account's own ECR."""
    image, role = image_of(pipeline.spec.train.image), role_of(pipeline.platform.role)
    own = image and role and (image.account, image.region) == (role.account, pipeline.platform.region)
    return image.name if image and own else None
