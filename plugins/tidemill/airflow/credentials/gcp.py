"""Google Cloud's credentials, from an Airflow connection of type ``google_cloud_platform``."""

from __future__ import annotations

from typing import Any


def open(connection_id: str) -> Any:
    """The ``google.auth.credentials.Credentials`` of a connection, made as Airflow's Google provider makes them: key
    file, secret, impersonated account, workload identity, or none (``is_anonymous``).

    Raises:
        Exception: whatever the provider's hook raises.
    """
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    return GoogleBaseHook(gcp_conn_id=connection_id).get_credentials()
