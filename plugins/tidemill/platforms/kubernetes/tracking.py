"""Kubernetes tracks no experiments."""

from __future__ import annotations

from typing import NoReturn

from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform


def open_tracking(platform: Platform, connections: Connections) -> NoReturn:
    """There is no tracker that every cluster has.

    Raises:
        PlatformError: always.
    """
    raise PlatformError("Kubernetes has no experiment tracking of its own; write `track: mlflow`", fault="user")
