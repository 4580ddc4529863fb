"""The sections that say where a pipeline's work runs, and on what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tidemill.spec.fields import Duration, Price, Size, one_or_many
from tidemill.spec.section import Section

if TYPE_CHECKING:
    Machines = str | list[str]
else:
    Machines = one_or_many(Annotated[str, Field(min_length=1)])

Provider = Literal["local", "aws", "gcp", "azure", "kubernetes"]
Service = Literal["sagemaker", "batch", "vertex", "azureml", "kubernetes"]
Track = Literal["mlflow", "sagemaker", "vertex", "azureml"]
Computed = Literal["validate", "evaluate", "monitor", "score"]
"""The steps that compute over rows, besides the training."""


Existing = Literal[
    "bucket", "role", "queue", "spot_queue", "image", "logs", "network", "namespace", "service_account", "volume",
    "resource_group", "workspace", "compute", "spot_compute", "identity",
]  # fmt: skip


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


class Processing(Section):
    """The other steps that compute over rows, as jobs of the service, too (`aws` with `service: sagemaker`)."""

    steps: list[Computed] | None = Field(
        default=None,
        min_length=1,
        description="The steps that run so; by default all of these that the pipeline has.",
        examples=[["evaluate", "score"]],
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        description="The container image, with Python 3.11 or newer and what the steps import; by default the "
        "training's.",
        examples=["123456789012.dkr.ecr.eu-west-1.amazonaws.com/tidemill:1"],
    )
    machine: Machines = Field(
        description="A machine type, or up to five in the order of preference: the service takes the first that is to "
        "be had.",
        examples=["ml.m5.xlarge"],
    )
    disk: Size | None = Field(default=None, description="The machine's disk, e.g. `50 GiB`.")
    timeout: Duration | None = Field(
        default=None, description="A job that takes longer is stopped, and fails.", examples=["2 h"]
    )


class Provided(Section):
    """Whose platform it is."""

    provider: Provider = Field(
        description="`local`: processes on the machine that runs the task; or `aws`, `gcp`, `azure`, `kubernetes`."
    )


class Whereabouts(Section):
    """What a platform has at each place."""

    price: Price | None = Field(
        default=None, description="What an hour of training costs here; each training's cost is kept in the ledger."
    )
    connection: str | None = Field(
        default=None,
        min_length=1,
        description="The Airflow connection with the credentials; by default the provider's own (`aws_default`, "
        "`google_cloud_default`, `azure_default`, `kubernetes_default`).",
        examples=["aws_default"],
    )
    region: str | None = Field(default=None, min_length=1, description="`aws`, `gcp`.", examples=["eu-west-1"])
    bucket: str | None = Field(
        default=None,
        min_length=1,
        description="Where code, data and models are kept for jobs: `s3://…`, `gs://…`, "
        "`abfss://container@account.dfs.core.windows.net/…`.",
        examples=["s3://acme-ml"],
    )
    bucket_connection: str | None = Field(
        default=None, min_length=1, description="The Airflow connection for the bucket (`kubernetes`)."
    )
    role: str | None = Field(
        default=None,
        min_length=1,
        description="What jobs run as: an IAM role (`aws`).",
        examples=["arn:aws:iam::123456789012:role/ml-training"],
    )
    queue: str | None = Field(default=None, min_length=1, description="The job queue (`aws` with `service: batch`).")
    spot_queue: str | None = Field(
        default=None, min_length=1, description="The job queue of spot machines (`aws` with `service: batch`)."
    )
    project: str | None = Field(default=None, min_length=1, description="The project (`gcp`).", examples=["acme-ml"])
    service_account: str | None = Field(
        default=None,
        min_length=1,
        description="What jobs run as (`gcp`, `kubernetes`).",
        examples=["training@acme-ml.iam.gserviceaccount.com"],
    )
    subscription: str | None = Field(default=None, min_length=1, description="The subscription (`azure`).")
    resource_group: str | None = Field(default=None, min_length=1, description="The resource group (`azure`).")
    workspace: str | None = Field(
        default=None, min_length=1, description="The Azure ML workspace (`azure`).", examples=["acme-ml"]
    )
    compute: str | None = Field(
        default=None, min_length=1, description="The compute cluster (`azure`).", examples=["cpu-cluster"]
    )
    spot_compute: str | None = Field(
        default=None, min_length=1, description="The compute cluster of the low-priority tier (`azure`)."
    )
    identity: str | None = Field(
        default=None, min_length=1, description="The managed identity's client id that jobs run as (`azure`)."
    )
    namespace: str | None = Field(
        default=None, min_length=1, description="The namespace (`kubernetes`).", examples=["ml"]
    )
    volume: Volume | None = Field(default=None, description="A shared volume instead of a bucket (`kubernetes`).")
    encryption_key: str | None = Field(
        default=None, min_length=1, description="The key that encrypts disks and outputs (`aws`: KMS; `gcp`: CMEK)."
    )
    network: Network | None = Field(default=None, description="The network that jobs run in.")


class Place(Whereabouts):
    """Another place to train at, when no machine is to be had at those before it. What it does not say is as at the
    platform itself."""

    after: Duration | None = Field(
        default=None,
        description="How long a job may be queued at the place before this one till this one is tried; where the "
        "service fails a job for which it has no machine, that may come first.",
        examples=["30 min"],
    )
    image: str | None = Field(default=None, min_length=1, description="The training's container image there.")
    checkpoint: str | None = Field(
        default=None, min_length=1, description="Where checkpoints are kept of trainings on spot machines there."
    )


class Platform(Whereabouts, Provided):
    """Where the pipeline's work runs. A key that the provider does not know is an error at its line."""

    processing: Processing | None = Field(
        default=None,
        description="Run validate, evaluate, monitor and score as jobs too (`aws` with `service: sagemaker`); without "
        "it they run where Airflow's tasks do.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Set on every job, for cost and search.", examples=[{"team": "ml"}]
    )
    fallback: list[Place] = Field(
        default_factory=list,
        description="Where else to train, in this order, when no machine is to be had: another region, cluster or "
        "account.",
        examples=[[{"region": "us-east-1", "bucket": "s3://acme-ml-us"}]],
    )
    existing: list[Existing] = Field(
        default_factory=list,
        description="What is there already: `tidemill infra` uses it and does not create it. Keys of this section, "
        "and `image` (its repository), `logs` (the service's log group; `gcp`: the log bucket; `azure`: Application "
        "Insights), `network` (the way to the bucket).",
        examples=[["bucket", "role"]],
    )


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


class Resources(Section):
    """What the training may use."""

    machine: Machines | None = Field(
        default=None,
        description="A machine type, or several in the order of preference: when one is not to be had, the next one "
        "is tried.",
        examples=["ml.m5.2xlarge"],
    )
    count: int = Field(default=1, ge=1, description="Machines; the function sees `context.rank` and `world_size`.")
    cpu: int | None = Field(default=None, ge=1, description="Processors.")
    memory: Size | None = Field(default=None, description="Memory, e.g. `4 GiB`; beyond it the training fails.")
    gpu: int | None = Field(default=None, ge=1, description="GPUs of each machine.")
    accelerator: str | None = Field(
        default=None,
        min_length=1,
        description="The GPU's type (`gcp`), or its resource name (`kubernetes`: `nvidia.com/gpu` by default).",
        examples=["NVIDIA_TESLA_T4"],
    )
    disk: Size | None = Field(default=None, description="Disk of each machine, e.g. `50 GiB`.")
    spot: Spot | None = Field(default=None, description="Machines that may be taken away, for less.")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes to run on (`kubernetes`)."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, description="Taints of nodes that are fine to run on (`kubernetes`)."
    )
