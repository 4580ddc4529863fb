"""One pipeline's use of AWS, with every name as Terraform's root knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidemill.infra.aws.policy import Condition

_ROLE: Final = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role(?P<path>/(?:.+/)?)(?P<name>[^/]+)"
)
_IMAGE: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<name>[^:@]+)(?:[:@].+)?"
)


@dataclass(frozen=True)
class Role:
    """The parts of a role's ARN; ``path`` begins and ends with a slash."""

    partition: str
    account: str
    path: str
    name: str


@dataclass(frozen=True)
class Image:
    """An image in ECR: where its repository is."""

    account: str
    region: str
    name: str


def role_of(arn: str | None) -> Role | None:
    """The parts of a role's ARN; ``None`` if it is none."""
    found = _ROLE.fullmatch(arn or "")
    return None if found is None else Role(**found.groupdict())


def image_of(image: str | None) -> Image | None:
    """The repository of an image in ECR; ``None`` if it lies elsewhere."""
    found = _IMAGE.fullmatch(image or "")
    return None if found is None else Image(**found.groupdict())


def bucket_of(address: str) -> tuple[str, str]:
    """Bucket and path of an address ``s3://BUCKET/PATH``; the path has no slash at its ends."""
    bucket, _, path = address.removeprefix("s3://").partition("/")
    return bucket, path.strip("/")


@dataclass(frozen=True)
class Using:
    """What the policies of one pipeline are made of. Every text may hold expressions of Terraform.

    ``processes``: other steps run as jobs, too; ``keeps_for``: data versions end by a rule of the bucket's lifecycle.
    ``bucket``, ``work``, ``checkpoints`` are ARNs: of the bucket, of the folder in it that jobs use, of the folder of
    checkpoints; ``key`` is the ARN of the key that encrypts what is stored.
    """

    partition: str
    service: str
    bucket: str
    work: str
    role: str
    experiment: str
    log_groups: tuple[str, ...]
    checkpoints: str = ""
    checkpoint_bucket: str = ""
    queues: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    key: str = ""
    encrypts_disks: bool = False
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    processes: bool = False
    keeps_for: bool = False

    @property
    def buckets(self) -> tuple[str, ...]:
        """The ARNs of all buckets that jobs use."""
        return tuple(sorted({self.bucket, self.checkpoint_bucket} - {""}))

    @property
    def by_s3(self) -> tuple[Condition, ...]:
        """The key may be used through S3 alone."""
        return (Condition("StringEquals", "kms:ViaService", ("s3.${var.region}.amazonaws.com",)),)

    def arn(self, service: str) -> str:
        """What the ARNs of a service's resources begin with."""
        return f"arn:{self.partition}:{service}:${{var.region}}:${{var.account}}"

    def ours(self, of: str) -> tuple[Condition, ...]:
        """Jobs that Tidemill made, by their tag; ``of``: ``Request`` or ``Resource``."""
        return (Condition("StringLike", f"aws:{of}Tag/tidemill-job", ("tm-*",)),)
