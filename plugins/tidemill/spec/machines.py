"""Sections that only pipelines on a cloud have; they are made when a file first has one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.spec.fields import Duration
from tidemill.spec.section import Section


class Network(Section):
    """The network that jobs run in. Which keys a provider has, docs/platforms.md says."""

    subnets: list[str] = Field(
        default_factory=list, description="Subnets (`aws`, `azure`).", examples=[["subnet-0a1b"]]
    )
    security_groups: list[str] = Field(
        default_factory=list, description="Security groups (`aws`).", examples=[["sg-0a1b"]]
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        description="The network to peer with (`gcp`).",
        examples=["projects/123456789012/global/networks/ml"],
    )
    isolated: bool = Field(default=False, description="No way out of the container (`aws`: network isolation).")


class Volume(Section):
    """A volume that both Airflow's workers and the pods mount (`kubernetes`)."""

    claim: str = Field(min_length=1, description="The persistent volume claim.", examples=["ml-data"])
    path: str = Field(min_length=1, description="Where Airflow's workers mount it.", examples=["/mnt/ml-data"])


class Spot(Section):
    """Machines that may be taken away at any time, for less."""

    checkpoint: str = Field(
        min_length=1,
        description="Where checkpoints are kept, so that an interrupted training goes on.",
        examples=["s3://acme-ml/checkpoints"],
    )
    wait: Duration | None = Field(
        default=None, description="How long to wait for such a machine, e.g. `2 h`.", examples=["2 h"]
    )
    fallback: Literal["on-demand", "fail"] = Field(
        default="on-demand", description="What happens when the wait is over, or no such machine is to be had."
    )


class Toleration(Section):
    """A taint that pods may be scheduled onto, as Kubernetes has it."""

    key: str | None = Field(default=None, min_length=1, description="The taint's key; every taint without one.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Whether the value has to match.")
    value: str | None = Field(default=None, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; every effect without one."
    )


Tolerations = list[Toleration]
