"""What is given to an executor: Kubernetes' objects as in Kubernetes' own YAML."""

from __future__ import annotations

import re
from typing import Any, Final

from tidemill.convert.model import Conversion, Item
from tidemill.convert.values import ARGS, TYPE, type_of, value_of

_SPECIAL: Final = {
    "_exec": "exec",
    "_from": "from",
    "_continue": "continue",
    "cluster_ip": "clusterIP",
    "disk_uri": "diskURI",
    "downward_api": "downwardAPI",
    "host_ip": "hostIP",
    "host_ipc": "hostIPC",
    "host_i_ps": "hostIPs",
    "host_pid": "hostPID",
    "pod_ip": "podIP",
    "pod_i_ps": "podIPs",
    "scale_io": "scaleIO",
    "set_hostname_as_fqdn": "setHostnameAsFQDN",
    "storage_policy_id": "storagePolicyID",
    "volume_id": "volumeID",
    "wwi_ds": "wwids",
}
"""Names that Kubernetes' Python client does not write by its own rule."""


def executor_config(item: Item, path: str, conversion: Conversion) -> dict[str, Any]:
    """The value of ``executor_config``."""
    found: dict[str, Any] = {}
    for key, below in item.value.items() if isinstance(item.value, dict) else ():
        at = f"{path}.{key}"
        found[key] = _manifest(below, at, conversion) if key == "pod_override" else value_of(below, at, conversion)
    return found


def _manifest(item: Item, path: str, conversion: Conversion) -> Any:
    """An object of Kubernetes' models as Kubernetes' YAML."""
    if isinstance(item.value, list):
        return [_manifest(below, path, conversion) for below in item.value]
    kind = type_of(item)
    if kind == "builtins.list":
        return [_manifest(below, path, conversion) for below in item.value["items"].value]
    if kind is None or not isinstance(item.value, dict):
        return value_of(item, path, conversion)
    if not kind.startswith("kubernetes.client."):
        conversion.lost(item, path, f'"{kind}" is no model of Kubernetes', "write the pod as in Kubernetes' own YAML")
    return {
        camel(key): _manifest(below, f"{path}.{key}", conversion)
        for key, below in item.value.items()
        if key not in (TYPE, ARGS)
    }


def camel(name: str) -> str:
    """Kubernetes' name of a field of its Python client."""
    return _SPECIAL.get(name) or re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)
