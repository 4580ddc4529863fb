"""One project of Google Cloud, as a connection reaches it: credentials, addresses, retries."""

from __future__ import annotations

from collections.abc import Callable
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

# A quota of machines that is used up has the code of too many calls; asking again does not help it.
_NO_MACHINES: Final = "quota metrics exceed"


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
        if isinstance(error, exceptions.TooManyRequests):
            return throttled and _NO_MACHINES not in str(error)
        return isinstance(error, transient)

    return _retry(again, seconds)


def retry_refused() -> Retry:
    """How calls are repeated that may be acted upon only once: when the service said that there were too many."""
    from google.api_core.exceptions import TooManyRequests

    def again(error: BaseException) -> bool:
        return isinstance(error, TooManyRequests) and _NO_MACHINES not in str(error)

    return _retry(again, RETRY_SECONDS)


def _retry(again: Callable[[BaseException], bool], seconds: float) -> Retry:
    from google.api_core.retry import Retry

    return Retry(predicate=again, initial=0.5, maximum=8.0, multiplier=2.0, timeout=seconds)
