"""What pipelines store: keys, buckets, logs, images."""

from __future__ import annotations

from tidemill.infra.aws.base import GROUPS, Aws, groups_of, images_of
from tidemill.infra.aws.using import bucket_of, image_of, role_of
from tidemill.infra.hcl import Attribute, Block, Raw, Value
from tidemill.infra.kept import addresses, days_of, ends_versions
from tidemill.infra.needs import Pipeline
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
    needed = [
        p for p in without if {"bucket", "logs"} - p.existing or ("image" not in p.existing and own_repositories(p))
    ]
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
    for bucket in aws.needs.among("bucket", lambda p: [(key, bucket_of(uri)[0]) for key, uri in addresses(p)]):
        label = aws.root.label("bucket", bucket.name, bucket.asked)
        variable = aws.root.variable(label, "string", "A bucket's name.", bucket.name, bucket.asked)
        aws.bucket_arns[bucket.name] = f"arn:{aws.partition}:s3:::${{{variable}}}"
        made = Made("bucket", bucket.name, bucket.asked)
        if bucket.existing:
            aws.root.used.append(made)
            continue
        inputs: dict[str, Value] = {
            "name": variable,
            "kms_key_arn": Raw(aws.key(bucket.users[0])),
            "days": days_of(aws.root, bucket, bucket_of),
            # Its lifecycle has rules of Tidemill's own, for data versions (`data.keep`): Terraform would remove them.
            "owns_lifecycle": not any(ends_versions(pipeline) for pipeline in bucket.users),
        }
        aws.root.module("bucket", label, inputs, made)


def logs(aws: Aws) -> None:
    """The log groups of the services that train."""
    for group in aws.needs.among("logs", lambda p: [("train.service", name) for name in groups_of(p)]):
        made = Made("log group", group.name, group.asked)
        if group.existing:
            aws.root.used.append(made)
            continue
        service = next(service for service, name in GROUPS.items() if name == group.name)
        days = aws.root.variable("log_days", "number", "Days for which logs are kept.", 365)
        key = aws.named_keys.get(group.users[0].platform.encryption_key or "", aws.created_key)
        inputs = {"name": group.name, "retention_days": days, "kms_key_arn": Raw(key)}
        aws.root.module("logs", f"logs_{service}", inputs, made)


def repositories(aws: Aws) -> None:
    """Repositories of the account's own ECR; what lies elsewhere is somebody else's."""
    for found in aws.needs.among("image", own_repositories):
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


def own_repositories(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The repositories of a pipeline's images that are of the account's own ECR, each with the spec's key."""
    role = role_of(pipeline.platform.role)
    found = [(key, image_of(address)) for key, address in images_of(pipeline)]
    own = (role.account if role else "", pipeline.platform.region)
    return [(key, image.name) for key, image in found if image and (image.account, image.region) == own]
