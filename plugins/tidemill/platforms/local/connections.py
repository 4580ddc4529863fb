"""A world without connections."""

from __future__ import annotations

from typing import Any

from tidemill.platforms.ports import Cloud, Connection, PlatformError


class NoConnections:
    """The ``Connections`` port where nothing leads out: everything is in the project's own state folder."""

    def get(self, conn_id: str) -> Connection | None:
        """``None``, whatever is asked for."""
        return None

    def credentials(self, cloud: Cloud, conn_id: str) -> Any:
        """Raises PlatformError: there are none."""
        raise PlatformError(f"there is no connection {conn_id!r} here", fault="user")
