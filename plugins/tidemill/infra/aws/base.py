"""A root of AWS as it grows: what was added to it, by name, for what refers to it later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tidemill.infra.aws.using import Role, role_of
from tidemill.infra.hcl import identifier
from tidemill.infra.needs import Asked, Needs, Pipeline
from tidemill.infra.root import Root

GROUPS: Final = {
    "sagemaker": "/aws/sagemaker/TrainingJobs",
    "processing": "/aws/sagemaker/ProcessingJobs",
    "batch": "/aws/batch/job",
}
"""The log groups that the services write to: they prescribe them. SageMaker's are also its namespaces of metrics."""


def groups_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The log groups of a pipeline's jobs."""
    found = [GROUPS[pipeline.service]]
    if "process" in pipeline.tasks:
        found.append(GROUPS["processing"])
    return tuple(found)


def images_of(pipeline: Pipeline) -> tuple[tuple[str, str], ...]:
    """The images of a pipeline's jobs: the spec's key of each, and its address."""
    processing = pipeline.platform.processing
    found = [("train.image", pipeline.spec.train.image)]
    if "process" in pipeline.tasks and processing is not None:
        found.append(("platform.processing.image", processing.image))
    return tuple((key, image) for key, image in found if image)


@dataclass
class Aws:
    """The needs and the root.

    ``named_keys``: encryption key as a spec names it → the expression for its ARN; ``created_key``: that of the key
    that the root creates, empty if none; ``bucket_arns``: bucket → its ARN; ``role_arns``: role as a spec names it →
    the expression for its ARN, where the root creates it.
    """

    needs: Needs
    prefix: str
    root: Root
    named_keys: dict[str, str] = field(default_factory=dict)
    created_key: str = ""
    bucket_arns: dict[str, str] = field(default_factory=dict)
    role_arns: dict[str, str] = field(default_factory=dict)

    @property
    def role(self) -> Role:
        """A role of the account."""
        return next(filter(None, (role_of(pipeline.platform.role) for pipeline in self.needs.pipelines)))

    @property
    def partition(self) -> str:
        """The partition, as ARNs begin with it."""
        return self.role.partition

    def role_label(self, role: Role, asked: tuple[Asked, ...]) -> str:
        """What a role is called in the root; its name is a variable."""
        label = self.root.label("role", role.name, asked)
        self.root.variable(label, "string", "A role's name.", role.name, asked)
        return label

    def role_arn(self, role: Role) -> str:
        """A role's ARN, whether it is created or not."""
        name = f"${{var.{identifier(f'role_{role.name}')}}}"
        return f"arn:{role.partition}:iam::${{var.account}}:role{role.path}{name}"

    def key(self, pipeline: Pipeline) -> str:
        """The expression for the key that encrypts what a pipeline stores; empty if it is not known here."""
        named = pipeline.platform.encryption_key
        if named:
            return self.named_keys[named]
        return "" if "bucket" in pipeline.existing else self.created_key
