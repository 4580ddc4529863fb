"""Versions of objects in the bucket that pods share with Airflow: those of the bucket's own cloud."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tidemill.platforms.kubernetes.storage import owner
from tidemill.platforms.ports import Connections, ObjectVersions
from tidemill.spec.platform import Platform


def open_versions(platform: Platform, connections: Connections) -> ObjectVersions:
    """The versions of the platform's bucket, reached with ``bucket_connection``.

    Raises:
        PlatformError: there is no bucket, or no such connection.
    """
    cloud, its = owner(platform)
    return cast(ObjectVersions, import_module(f"tidemill.platforms.{cloud}.versions").open_versions(its, connections))
