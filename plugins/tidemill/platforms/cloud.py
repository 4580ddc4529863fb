"""A pipeline's platform, where that is not this machine: its service for jobs, its store, its metrics, its tracking.

Each is opened when it is first used, since a cloud's libraries take seconds to import.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any, Final, cast

from tidemill.platforms.ports import Connections, Metrics, ObjectVersions, RemoteJobs, Storage, Tracking
from tidemill.spec.platform import Platform

SERVICES: Final = {
    "local": (),
    "aws": ("sagemaker", "batch"),
    "gcp": ("vertex",),
    "azure": ("azureml",),
    "kubernetes": ("kubernetes",),
}
"""The services of each provider that run trainings."""

_CONNECTIONS: Final = {
    "aws": "aws_default",
    "gcp": "google_cloud_default",
    "azure": "azure_default",
    "kubernetes": "kubernetes_default",
}


def connection_id(platform: Platform) -> str:
    """The Airflow connection of a platform: the one it names, else its provider's own default."""
    return platform.connection or _CONNECTIONS[platform.provider]


def service_of(platform: Platform, service: str | None) -> str:
    """The service that trains: the one that is named, else the only one; empty for ``local``."""
    services = SERVICES[platform.provider]
    return service or (services[0] if services else "")


class Cloud:
    """The ports of one platform. Every attribute may raise PlatformError: there is no connection, or no library."""

    def __init__(self, platform: Platform, service: str, connections: Connections) -> None:
        self.platform = platform
        self.service = service
        self.connections = connections

    @cached_property
    def jobs(self) -> RemoteJobs:
        """The service that runs jobs."""
        return cast(RemoteJobs, self._module("jobs").open_jobs(self.platform, self.service, self.connections))

    @cached_property
    def storage(self) -> Storage:
        """The store of code, data and models."""
        return cast(Storage, self._module("storage").open_storage(self.platform, self.connections))

    @cached_property
    def versions(self) -> ObjectVersions:
        """The versions that the platform's bucket keeps of its objects."""
        return cast(ObjectVersions, self._module("versions").open_versions(self.platform, self.connections))

    @cached_property
    def metrics(self) -> Metrics:
        """The platform's monitoring."""
        return cast(Metrics, self._module("metrics").open_metrics(self.platform, self.connections))

    @cached_property
    def tracking(self) -> Tracking:
        """The platform's own experiment tracking."""
        return cast(Tracking, self._module("tracking").open_tracking(self.platform, self.connections))

    def place(self, name: str) -> str:
        """The address of a file or folder in the platform's store, below its bucket or volume."""
        if self.platform.volume is not None:
            base = self.platform.volume.path
        else:
            base = self.platform.bucket or ""
        return f"{base.rstrip('/')}/tidemill/{name}"

    def _module(self, port: str) -> Any:
        return import_module(f"tidemill.platforms.{self.platform.provider}.{port}")
