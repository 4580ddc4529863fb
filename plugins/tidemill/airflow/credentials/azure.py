"""How calls to Azure are signed: by the Microsoft provider's own base hook (client secret, managed identity, workload
identity, Azure CLI …), or by a token that the connection holds."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential


def open(connection_id: str) -> TokenCredential:
    """The credential of an Airflow connection of type ``azure`` or ``azure_ml``.

    Its extra may hold ``access_token``: a bearer token that is sent as it is, for a gateway that gives them out by
    itself, and for tests. Nobody is asked for another one when it expires.

    Raises:
        AirflowNotFoundException: there is none of that id.
        ValueError: a service principal is given in part.
    """
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(connection_id)
    extra = connection.extra_dejson
    token = extra.get("access_token")
    if token:
        return StaticToken(str(token))
    given = (connection.login, connection.password, extra.get("tenantId"))
    if any(given[:2]) and not all(given):
        # The provider's hook would go on with whatever identity the machine has.
        raise ValueError("a service principal has a client id (login), a secret (password) and a tenantId")
    return _credential(connection)


def _credential(connection: Any) -> TokenCredential:
    from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

    # Without this the hook makes a credential of the SDKs before azure-core, which no client of today takes.
    extra = {**connection.extra_dejson, "use_azure_identity_object": True}
    changed = type(connection)(
        conn_id=connection.conn_id,
        conn_type=connection.conn_type,
        login=connection.login,
        password=connection.password,
        extra=json.dumps(extra),
    )
    # The hook is typed as if it always made a credential of before azure-core.
    made: Any = AzureBaseHook(conn_id=connection.conn_id).get_credential(conn=changed)
    credential: TokenCredential = made
    return credential


class StaticToken:
    """A credential that has one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        """The token, whatever it is asked for."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + 3600)
