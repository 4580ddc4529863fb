"""What a delivery pipeline is made for: plain data, from which its files follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from tidemill.errors import TidemillError

System = Literal["github", "gitlab", "azure-devops"]
"""A CI system."""
Deploy = Literal["astronomer", "image", "sync"]
"""How specs and code reach an Airflow: an Astronomer deployment, a container image, files in a bucket."""

SYSTEMS: Final[tuple[System, ...]] = get_args(System)
DEPLOYS: Final[tuple[Deploy, ...]] = get_args(Deploy)
BUCKETS: Final = ("aws", "gcp", "azure")
"""The providers that have a bucket to sync to."""


class DeliveryProblem(TidemillError):
    """No delivery pipeline can be written; the message says why, and what to do."""


@dataclass(frozen=True)
class Delivery:
    """One delivery pipeline. All paths are relative to the repository, with ``/``.

    ``specs``: what is validated. ``dags``, ``include``: what is deployed. ``tests``: what pytest runs. ``None``: there
    is no such folder. ``known``: the environments that have overlays; ``environments``: those that are delivered to,
    in order.
    ``provider``: ``local`` if nothing is used of any cloud. ``infra``: the folder that holds Terraform's root of each
    environment, called as that is, which ``tidemill infra`` writes; ``None``: there is none.
    """

    system: System
    deploy: Deploy
    provider: str
    specs: str
    dags: str
    include: str | None
    tests: str | None
    known: tuple[str, ...]
    environments: tuple[str, ...]
    branch: str
    infra: str | None

    @property
    def checks(self) -> tuple[str, ...]:
        """The commands that each change has to pass."""
        found = [f"tidemill validate {self.specs}"]
        found += [f"tidemill validate --environment {name} {self.specs}" for name in self.known]
        found += [f"{command} --check" for command in self.roots]
        if self.tests is not None:
            found.append(f"python -m pytest {self.tests}")
        return tuple(found)

    @property
    def roots(self) -> tuple[str, ...]:
        """The commands that write Terraform's roots, one for each environment."""
        if self.infra is None:
            return ()
        return tuple(
            f"tidemill infra {self.specs} --environment {name} --output {self.infra}/{name}"
            for name in self.environments
        )

    @property
    def root(self) -> str:
        """The folder of an environment's root, for a shell that knows ``ENVIRONMENT``."""
        return f"{self.infra}/$ENVIRONMENT"

    @property
    def signs(self) -> bool:
        """Whether delivering calls the provider."""
        return self.infra is not None or (self.deploy != "astronomer" and self.provider in BUCKETS)

    @property
    def last(self) -> str:
        """The environment that waits for a person."""
        return self.environments[-1]


@dataclass(frozen=True)
class Setting:
    """A variable that a person sets for each environment. ``plan``: that of the plans needs it, too."""

    name: str
    words: str
    secret: bool = False
    plan: bool = False


_SIGNING: Final[dict[str, tuple[Setting, ...]]] = {
    "aws": (
        Setting("AWS_ROLE_ARN", "the IAM role to assume, arn:aws:iam::ACCOUNT:role/NAME", plan=True),
        Setting("AWS_REGION", "the region, as in the specs", plan=True),
    ),
    "gcp": (
        Setting(
            "GCP_WORKLOAD_IDENTITY_PROVIDER",
            "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/NAME",
            plan=True,
        ),
        Setting(
            "GCP_SERVICE_ACCOUNT", "the service account to act as, NAME@PROJECT.iam.gserviceaccount.com", plan=True
        ),
    ),
    "azure": (
        Setting("ARM_CLIENT_ID", "the client id of the app registration or managed identity to sign in as", plan=True),
        Setting("ARM_TENANT_ID", "its tenant", plan=True),
        Setting("ARM_SUBSCRIPTION_ID", "the subscription, as in the specs", plan=True),
    ),
    "kubernetes": (
        Setting("KUBE_HOST", "the address of the cluster's API server, https://…", plan=True),
        Setting("KUBE_CA_DATA", "the certificate authority of that server, PEM in base64; it is public", plan=True),
        Setting("KUBE_AUDIENCE", "the audience that the API server expects in a token", plan=True),
    ),
}


_OF_CONNECTIONS: Final = ("ARM_CLIENT_ID", "ARM_TENANT_ID", "KUBE_AUDIENCE")
"""What a service connection of Azure DevOps knows by itself."""


def settings(delivery: Delivery) -> Iterator[Setting]:
    """What a person sets, in the order in which it is told."""
    if delivery.signs:
        for setting in _SIGNING[delivery.provider]:
            # The service connection of an Azure pipeline knows who it signs in as.
            if delivery.system == "azure-devops" and setting.name in (
                "ARM_CLIENT_ID",
                "ARM_TENANT_ID",
                "KUBE_AUDIENCE",
            ):
                continue
            yield setting
    if delivery.deploy == "astronomer":
        yield Setting("ASTRO_DEPLOYMENT_ID", "the id of the Astronomer deployment")
        yield Setting("ASTRO_API_TOKEN", "a deployment's API token of Astronomer", secret=True)
    elif delivery.deploy == "image":
        yield Setting("IMAGE", f"the repository of the image without a tag, e.g. {_image(delivery)}")
    elif delivery.provider == "azure":
        yield Setting("AZURE_STORAGE_ACCOUNT", "the storage account that DAGs are copied to")
        yield Setting("DAG_CONTAINER", "the container in it")
    else:
        scheme = "gs" if delivery.provider == "gcp" else "s3"
        yield Setting("DAG_BUCKET", f"where DAGs are copied to, e.g. {scheme}://acme-airflow/pipelines")


def _image(delivery: Delivery) -> str:
    if delivery.provider in BUCKETS:
        return {
            "aws": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/airflow",
            "gcp": "europe-west4-docker.pkg.dev/acme-ml/images/airflow",
            "azure": "acmeml.azurecr.io/airflow",
        }[delivery.provider]
    return {
        "github": "ghcr.io/acme/pipelines",
        "gitlab": "registry.gitlab.com/acme/pipelines/airflow",
        "azure-devops": "registry.example.org/acme/airflow",
    }[delivery.system]
