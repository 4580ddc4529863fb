"""What the emulated API server refuses. Sources: "Object Names and IDs", "Labels and Selectors", "Jobs", "Resource
Management for Pods and Containers", "Taints and Tolerations" of the Kubernetes documentation, and the API reference of
``batch/v1`` Job and ``core/v1`` Pod; the words are those of the API server's validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ENV = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_UNITS = {"": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
IMMUTABLE = ("template", "completions", "selector", "completionMode", "podFailurePolicy")
"""Fields of a job's specification that an update may not change ("Jobs", "Mutable Scheduling Directives" aside)."""


def faults(job: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a job that is to be created."""
    meta, spec = job.get("metadata") or {}, job.get("spec") or {}
    name = str(meta.get("name") or "")
    if not _NAME.fullmatch(name):
        yield f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case …'
    if len(name) > 63:  # its name becomes a label's value of its pods
        yield f'metadata.name: Invalid value: "{name}": must be no more than 63 characters'
    template = spec.get("template") or {}
    yield from _labels(meta.get("labels"), "metadata.labels")
    yield from _labels((template.get("metadata") or {}).get("labels"), "spec.template.labels")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    for field in ("completions", "parallelism", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if (spec.get(field) or 0) < 0:
            yield f"spec.{field}: Invalid value: {spec[field]}: must be greater than or equal to 0"
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield "spec.completions: Required value: when completion mode is Indexed"
    if pod.get("activeDeadlineSeconds") is not None and not 1 <= pod["activeDeadlineSeconds"] <= 2**31 - 1:
        yield "spec.template.spec.activeDeadlineSeconds: Invalid value: must be between 1 and 2147483647, inclusive"
    yield from _policy(spec, pod)
    yield from _pod(pod)


def _labels(labels: Mapping[str, Any] | None, where: str) -> Iterator[str]:
    for key, value in (labels or {}).items():
        if not _KEY.fullmatch(key) or len(key.rpartition("/")[2]) > 63:
            yield f'{where}: Invalid value: "{key}": name part must consist of alphanumeric characters, …'
        if not isinstance(value, str) or len(value) > 63 or not _LABEL.fullmatch(value):
            yield f'{where}: Invalid value: "{value}": a valid label must be an empty string or consist of …'


def _policy(spec: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    where = "spec.podFailurePolicy"
    if pod.get("restartPolicy") != "Never":
        yield f'{where}: Invalid value: only "Never" is supported for restartPolicy when podFailurePolicy is specified'
    names = {container.get("name") for container in pod.get("containers") or ()}
    for n, rule in enumerate(policy.get("rules") or ()):
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if rule.get("action") not in ("FailJob", "FailIndex", "Ignore", "Count"):
            yield f'{where}.rules[{n}].action: Unsupported value: "{rule.get("action")}"'
        if (codes is None) == (not conditions):
            yield f"{where}.rules[{n}]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
        if codes is not None:
            values = codes.get("values") or []
            if not values or values != sorted(set(values)) or (codes.get("operator") == "In" and 0 in values):
                yield f"{where}.rules[{n}].onExitCodes.values: Invalid value: must be ordered, unique, and not 0"
            if codes.get("containerName") not in names:
                yield f"{where}.rules[{n}].onExitCodes.containerName: Invalid value: must be one of the container names"


def _pod(pod: Mapping[str, Any]) -> Iterator[str]:
    where = "spec.template.spec"
    if not pod.get("containers"):
        yield f"{where}.containers: Required value"
    volumes = {volume.get("name") for volume in pod.get("volumes") or ()}
    for n, container in enumerate(pod.get("containers") or ()):
        at = f"{where}.containers[{n}]"
        if not container.get("image"):
            yield f"{at}.image: Required value"
        if not _NAME.fullmatch(str(container.get("name"))):
            yield f"{at}.name: Invalid value"
        for variable in container.get("env") or ():
            if not _ENV.fullmatch(str(variable.get("name"))):
                yield f'{at}.env.name: Invalid value: "{variable.get("name")}": a valid environment variable name …'
            if not isinstance(variable.get("value", ""), str):
                yield f"{at}.env.value: Invalid value: must be a string"
        for mount in container.get("volumeMounts") or ():
            if mount.get("name") not in volumes:
                yield f'{at}.volumeMounts[0].name: Not found: "{mount.get("name")}"'
        yield from _resources(container.get("resources") or {}, f"{at}.resources")
    for n, toleration in enumerate(pod.get("tolerations") or ()):
        operator = toleration.get("operator", "Equal")
        if operator not in ("Exists", "Equal"):
            yield f'{where}.tolerations[{n}].operator: Unsupported value: "{operator}"'
        if operator == "Exists" and toleration.get("value"):
            yield f"{where}.tolerations[{n}].operator: Invalid value: value must be empty when `operator` is 'Exists'"
        if operator == "Equal" and not toleration.get("key"):
            yield f"{where}.tolerations[{n}].operator: Invalid value: operator must be Exists when `key` is empty"
    yield from _labels(pod.get("nodeSelector"), f"{where}.nodeSelector")


def _resources(resources: Mapping[str, Any], where: str) -> Iterator[str]:
    limits = {key: quantity(value) for key, value in (resources.get("limits") or {}).items()}
    requests = {key: quantity(value) for key, value in (resources.get("requests") or {}).items()}
    for kind, values in (("limits", limits), ("requests", requests)):
        for key, value in values.items():
            if value is None:
                yield f"{where}.{kind}.{key}: quantities must match the regular expression …"
            elif "/" not in key and key not in ("cpu", "memory", "ephemeral-storage"):
                yield f'{where}.{kind}: Invalid value: "{key}": must be a standard resource type or fully qualified'
    for key, value in requests.items():
        limit = limits.get(key)
        if value is not None and limit is not None and value > limit:
            yield f"{where}.requests: Invalid value: {value}: must be less than or equal to {key} limit of {limit}"


def quantity(value: Any) -> Decimal | None:
    """A resource's quantity as a number; ``None`` if it is none."""
    found = re.fullmatch(r"([0-9.]+)([mkMG]|[KMG]i)?", str(value))
    try:
        return None if found is None else Decimal(found[1]) * _UNITS[found[2] or ""]
    except InvalidOperation:
        return None


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes an object ("Labels and Selectors": equality and sets)."""
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        part = part.strip()
        among = re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", part)
        equal = re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(\S*)", part)
        if among is not None:
            if (labels.get(among[1]) in [v.strip() for v in among[3].split(",")]) != (among[2] == "in"):
                return False
        elif equal is not None:
            if (labels.get(equal[1]) == equal[3]) != (equal[2] != "!="):
                return False
        elif (part.lstrip("!") in labels) == part.startswith("!"):
            return False
    return True
