"""Kubernetes' objects: given to an executor as in Kubernetes' own YAML, to an operator as objects."""

from __future__ import annotations

import re
from typing import Any, Final

from tidemill.convert.model import Conversion, Item, Items
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


_MODELS: Final = "kubernetes.client.models."
_OBJECTS: Final = {
    "secrets": "airflow.providers.cncf.kubernetes.secret.Secret",
    "ports": f"{_MODELS}V1ContainerPort",
    "volume_mounts": f"{_MODELS}V1VolumeMount",
    "volumes": f"{_MODELS}V1Volume",
    "pod_runtime_info_envs": f"{_MODELS}V1EnvVar",
}
"""Arguments of the pod operator that dag-factory 0.x wrote as mappings, and what they are."""


def pod_argument(name: str, item: Item) -> Item:
    """An argument of the pod operator; what dag-factory 0.x made objects of is written as such."""
    kind = _OBJECTS.get(name)
    if kind is None or not isinstance(item.value, list):
        return item
    return item.at([_typed(name, kind, one) for one in item.value])


def _typed(name: str, kind: str, item: Item) -> Item:
    if not isinstance(item.value, dict) or TYPE in item.value:
        return item
    parts: Items = dict(item.value)
    configs = parts.pop("configs", None)
    if name == "volumes" and configs is not None and isinstance(configs.value, dict):
        parts |= {re.sub(r"(?<!^)([A-Z])", r"_\1", key).lower(): below for key, below in configs.value.items()}
    if name == "pod_runtime_info_envs" and "field_path" in parts:
        field = {TYPE: item.at(f"{_MODELS}V1ObjectFieldSelector"), "field_path": parts.pop("field_path")}
        source = {TYPE: item.at(f"{_MODELS}V1EnvVarSource"), "field_ref": item.at(field)}
        parts["value_from"] = item.at(source)
    return item.at({TYPE: item.at(kind), **parts})
