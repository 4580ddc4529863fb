"""A subscription's workspace of Azure ML: its management API, and the services behind its own address."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from tidemill.platforms.azure.errors import translated
from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform


@dataclass(frozen=True)
class Cloud:
    """The addresses of one of Microsoft's clouds: management, Azure ML (its studio, and what its tokens are for)."""

    manager: str
    studio: str


CLOUDS: Final = {
    "AzurePublicCloud": Cloud("https://management.azure.com", "https://ml.azure.com"),
    "AzureUSGovernment": Cloud("https://management.usgovcloudapi.net", "https://ml.azure.us"),
    "AzureChinaCloud": Cloud("https://management.chinacloudapi.cn", "https://ml.azure.cn"),
}
"""By the name that the connection's ``cloud_environment`` has, as in the Microsoft provider."""

TIMEOUTS: Final = {
    # Without these a call that is never answered holds a worker for five minutes, ten times over.
    "connection_timeout": 10,
    "read_timeout": 60,
    "retry_total": 5,
    "retry_backoff_factor": 0.4,
    "retry_backoff_max": 20,
}
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_BATCH: Final = 100
"""Runs that are asked for in one call."""


class Workspace:
    """An Azure ML workspace, as one Airflow connection reaches it. Its attributes raise PlatformError."""

    def __init__(
        self,
        credential: Any,
        connection: str,
        extra: Mapping[str, Any],
        *,
        subscription: str,
        resource_group: str,
        workspace: str,
    ) -> None:
        self.credential = credential
        self.connection = connection
        self.subscription = subscription
        self.group = resource_group
        self.name = workspace
        self.cloud = cloud_of(connection, extra)
        self.manager = str(extra.get("resource_manager_endpoint") or self.cloud.manager).rstrip("/")

    @property
    def scope(self) -> str:
        """The workspace's own id in the subscription."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @cached_property
    def client(self) -> Any:
        """The ``MachineLearningServicesMgmtClient``, which speaks one version of the management API."""
        from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient

        quiet()
        scopes = [f"{self.cloud.manager}/.default"]
        return MachineLearningServicesMgmtClient(
            self.credential,
            self.subscription,
            base_url=self.manager,
            credential_scopes=scopes,
            authentication_policy=signing(self.credential, self.connection, self.manager, scopes),
            **TIMEOUTS,
        )

    @cached_property
    def _services(self) -> tuple[str, Any]:
        """The address of the workspace's own services (run history, MLflow), and a client for it."""
        found = self.read()
        with translated(f"workspace {self.name}", self.connection, "azureml"):
            base = str(json.loads(self.text(found.discovery_url))["api"]).rstrip("/")
        return base, client_of(self.credential, self.connection, base, f"{self.cloud.studio}/.default")

    def read(self) -> Any:
        """The workspace, as the management API describes it.

        Raises:
            PlatformError: there is none, refused, or no answer.
        """
        with translated(f"workspace {self.name}", self.connection, "azureml"):
            return self.client.workspaces.get(self.group, self.name)

    def text(self, url: str) -> str:
        """What is at an address that holds its own signature, or needs none.

        Raises:
            azure.core.exceptions.AzureError: refused, or no answer.
        """
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import RetryPolicy

        plain: Any = PipelineClient(url, policies=[RetryPolicy(**TIMEOUTS)])
        answer = plain.send_request(request_of("GET", url))
        answer.raise_for_status()
        return str(answer.text())

    def call(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, str] | None = None, once: bool = False
    ) -> Any:
        """Ask one of the workspace's own services: ``path`` is ``history/v1.0``, ``mlflow/v1.0`` … and, after the
        workspace's own id, what follows a ``|``. ``once``: the call is sent a single time, whatever comes of it;
        Azure's client sends a POST again that was answered with 500, 503 or 504, though it may have been acted upon.

        Raises:
            azure.core.exceptions.AzureError: refused, or no answer.
        """
        base, client = self._services
        service, _, rest = path.partition("|")
        request = request_of(method, f"{base}/{service}{self.scope}{rest}", json=body, params=params)
        settings = {name: TIMEOUTS[name] for name in ("connection_timeout", "read_timeout")}
        answer = client.send_request(request, **settings, **({"retry_total": 0} if once else {}))
        answer.raise_for_status()
        return answer.json()

    def runs(self, names: list[str]) -> dict[str, Mapping[str, Any]]:
        """What run history knows of jobs, by name, in a call for every hundred of them; an unknown one is missing.

        Raises:
            azure.core.exceptions.AzureError: refused, or no answer.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(names), _BATCH):
            asked = {
                name: {"runId": name, "selectRunMetadata": True, "selectRunDefinition": False}
                for name in names[start : start + _BATCH]
            }
            answer = self.call("POST", "history/v1.0|/batchrundata", {"requests": asked})
            for name, result in (answer.get("successfulResults") or {}).items():
                found[name] = result.get("runMetadata") or {}
        return found

    def studio(self, name: str) -> str:
        """Where a person looks at a job."""
        return (
            f"{self.cloud.studio}/runs/{name}?wsid=/subscriptions/{self.subscription}"
            f"/resourcegroups/{self.group}/workspaces/{self.name}"
        )


def signing(credential: Any, connection: str, base: str, scopes: list[str]) -> Any:
    """What signs the calls to an address. A token goes over TLS, or to this very machine.

    Raises:
        PlatformError: the address is of another machine and not ``https``.
    """
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

    address = urlsplit(base)
    if address.scheme != "https" and address.hostname not in _HERE:
        raise PlatformError(
            f"connection {connection!r}: {base} is not https, and a token would be readable on its way", fault="user"
        )

    class Signing(ARMChallengeAuthenticationPolicy):
        def on_request(self, request: Any) -> None:
            request.context.options["enforce_https"] = address.scheme == "https"
            super().on_request(request)

    return Signing(credential, *scopes)


def client_of(credential: Any, connection: str, base: str, scope: str) -> Any:
    """A ``PipelineClient`` of azure-core for an address whose calls need no SDK of their own.

    Raises:
        PlatformError: the address is of another machine and not ``https``.
    """
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import HeadersPolicy, RetryPolicy, UserAgentPolicy

    signed = signing(credential, connection, base, [scope])
    policies: Any = [HeadersPolicy(), UserAgentPolicy("tidemill"), RetryPolicy(**TIMEOUTS), signed]
    return PipelineClient(base, policies=policies)


def cloud_of(connection: str, extra: Mapping[str, Any]) -> Cloud:
    """Which of Microsoft's clouds a connection leads to.

    Raises:
        PlatformError: it names none of them.
    """
    name = str(extra.get("cloud_environment") or "AzurePublicCloud")
    if name not in CLOUDS:
        raise PlatformError(
            f"connection {connection!r}: cloud_environment {name!r} is none of {', '.join(CLOUDS)}", fault="user"
        )
    return CLOUDS[name]


def open_workspace(platform: Platform, connections: Connections) -> Workspace:
    """The workspace that a spec's ``platform:`` names.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    conn_id = connection_id(platform)
    credential = connections.credentials("azure", conn_id)
    found = connections.get(conn_id)
    extra = found.extra if found is not None else {}
    subscription = platform.subscription or str(extra.get("subscriptionId") or "")
    missing = [
        key
        for key, value in (
            ("subscription", subscription),
            ("resource_group", platform.resource_group),
            ("workspace", platform.workspace),
        )
        if not value
    ]
    if missing:
        raise PlatformError(f"platform.{missing[0]} is missing; Azure ML needs it", fault="user")
    return Workspace(
        credential,
        conn_id,
        extra,
        subscription=subscription,
        resource_group=str(platform.resource_group),
        workspace=str(platform.workspace),
    )


def quiet() -> None:
    """Keep Azure's libraries from writing the headers of every call into the task's log, unless they were told to."""
    logger = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


def request_of(method: str, url: str, **kwargs: Any) -> Any:
    """A call for a ``PipelineClient``; what is ``None`` is left out."""
    from azure.core.rest import HttpRequest

    return HttpRequest(method, url, **{key: value for key, value in kwargs.items() if value is not None})
