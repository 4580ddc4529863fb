"""How calls to a cluster are signed: by the Kubernetes provider's own hook (in-cluster, kube config, its path)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_ONE_AT_A_TIME = threading.Lock()


def open(connection_id: str) -> ApiClient:
    """The client of an Airflow connection of type ``kubernetes``.

    Raises:
        AirflowNotFoundException: there is none of that id (the hook alone would go on with whatever the machine has).
    """
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.sdk import BaseHook

    BaseHook.get_connection(connection_id)
    # The hook sets the library's one default configuration and then makes a client of it.
    with _ONE_AT_A_TIME:
        client: ApiClient = KubernetesHook(conn_id=connection_id).get_conn()
    return client
