"""One project of Google Cloud, as a connection reaches it: credentials, addresses, retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from google.api_core.retry import Retry

SECONDS: Final = 60.0
"""How long one answer is waited for."""
RETRY_SECONDS: Final = 45.0
"""For how long a call that was throttled, or failed inside the service, is tried again."""


@dataclass(frozen=True)
class Account:
    """A project and region, and how its services are reached; ``api_endpoint`` replaces the address of all of Google's
    REST services but Cloud Storage, whose is ``storage_endpoint``. Both are ``None`` but for a private endpoint."""

    connection: str
    project: str
    region: str
    credentials: Any = field(repr=False)
    api_endpoint: str | None = None
    storage_endpoint: str | None = None

    @property
    def location(self) -> str:
        """The parent of what Vertex AI keeps here."""
        return f"projects/{self.project}/locations/{self.region}"

    def vertex_options(self) -> dict[str, Any]:
        """What a REST client of Vertex AI is made with; each region has an address of its own."""
        address = self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"
        return {"credentials": self.credentials, "transport": "rest", "client_options": {"api_endpoint": address}}


def open_account(platform: Platform, connections: Connections) -> Account:
    """The account of a spec's ``platform:`` section.

    Raises:
        PlatformError: there is no such connection, nothing can be made of it, or it is not said which project.
    """
    name = connection_id(platform)
    credentials = connections.credentials("gcp", name)
    connection = connections.get(name)
    extra = connection.extra if connection is not None else {}
    project = platform.project or extra.get("project") or extra.get("extra__google_cloud_platform__project")
    if not project:
        raise PlatformError(
            f"no project: set platform.project, or `project` in the extra of the connection {name!r}", fault="user"
        )
    return Account(
        connection=name,
        project=project,
        region=platform.region or "",
        credentials=credentials,
        api_endpoint=extra.get("api_endpoint"),
        storage_endpoint=extra.get("storage_endpoint"),
    )


def retry(seconds: float = RETRY_SECONDS, *, throttled: bool = True) -> Retry:
    """How calls that may be repeated are: Vertex AI's client repeats none by itself (``GetCustomJob`` has no default).

    ``throttled=False`` leaves a throttled call to the caller.
    """
    from google.api_core import exceptions
    from google.api_core.retry import Retry
    from requests import exceptions as http

    transient: tuple[type[Exception], ...] = (
        exceptions.InternalServerError,
        exceptions.BadGateway,
        exceptions.ServiceUnavailable,
        exceptions.GatewayTimeout,
        http.ConnectionError,
        http.ChunkedEncodingError,
        http.Timeout,
    )

    def again(error: BaseException) -> bool:
        # A quota of machines is answered with the same code as too many calls; asking again does not help it.
        if isinstance(error, exceptions.TooManyRequests):
            return throttled and "quota metrics exceed" not in str(error)
        return isinstance(error, transient)

    return Retry(predicate=again, initial=0.5, maximum=8.0, multiplier=2.0, timeout=seconds)
