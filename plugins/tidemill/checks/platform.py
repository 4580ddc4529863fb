"""What can be said about a platform without a network: its keys, its names, its machines, its limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tidemill.checks.common import known_keys
from tidemill.platforms import capabilities, tags
from tidemill.platforms.cloud import SERVICES
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec
from tidemill.spec.platform import Platform

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "local": (),
    "aws": (
        *("connection", "region", "bucket", "role", "queue", "spot_queue"),
        *("encryption_key", "network", "processing", "tags", "fallback", "existing"),
    ),
    "gcp": (
        *("connection", "region", "bucket", "project", "service_account"),
        *("encryption_key", "network", "tags", "fallback", "existing"),
    ),
    "azure": (
        *("connection", "bucket", "subscription", "resource_group", "workspace"),
        *("compute", "spot_compute", "identity", "tags", "fallback", "existing"),
    ),
    "kubernetes": (
        *("connection", "bucket", "bucket_connection", "volume"),
        *("namespace", "service_account", "tags", "fallback", "existing"),
    ),
}
"""The keys of ``platform`` that each provider knows, besides ``provider`` and ``price``."""

_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "sagemaker": ("region", "bucket", "role"),
    "batch": ("region", "bucket", "role", "queue"),
    "vertex": ("region", "bucket", "project"),
    "azureml": ("bucket", "subscription", "resource_group", "workspace", "compute"),
    "kubernetes": ("namespace",),
}
_RESOURCES: Final[dict[str, tuple[str, ...]]] = {
    "local": ("cpu", "memory"),
    "sagemaker": ("machine", "count", "disk", "spot"),
    "batch": ("count", "cpu", "memory", "gpu", "spot"),
    "vertex": ("machine", "count", "gpu", "accelerator", "disk", "spot"),
    "azureml": ("count", "spot"),
    "kubernetes": ("count", "cpu", "memory", "gpu", "accelerator", "node_selector", "tolerations", "spot"),
}
_NETWORK: Final[dict[str, tuple[str, ...]]] = {
    "sagemaker": ("subnets", "security_groups", "isolated"),
    "batch": (),
    "vertex": ("name",),
}
_EXISTING: Final[dict[str, tuple[str, ...]]] = {
    "aws": ("bucket", "role", "queue", "spot_queue", "image", "logs", "network"),
    "gcp": ("bucket", "service_account", "image", "logs"),
    "azure": ("bucket", "resource_group", "workspace", "compute", "spot_compute", "identity", "image", "logs"),
    "kubernetes": ("namespace", "service_account", "volume"),
}
"""What `tidemill infra` creates for a provider, unless it is there already. `image` and `logs` are no keys of
`platform`: where `train.image` lies, and the service's log group (`gcp`: the log bucket;
`azure`: Application Insights)."""
SCHEMES: Final[dict[str, tuple[str, ...]]] = {
    "aws": ("s3",),
    "gcp": ("gs",),
    "azure": ("abfss",),
    "kubernetes": ("s3", "gs", "abfss"),
}
EXAMPLES: Final = {
    "s3": "s3://acme-ml",
    "gs": "gs://acme-ml",
    "abfss": "abfss://models@acme.dfs.core.windows.net",
}
_TRACKS: Final = {"sagemaker": "aws", "vertex": "gcp", "azureml": "azure"}
_OWN_TAGS: Final = len(tags.SHARED) + len(tags.OF_JOBS)
"""How many tags every job has anyway."""
_BUCKET: Final = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<rest>[^\s?#]+)")
_ABFSS: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}@[a-z0-9]{3,24}\.(?:dfs|blob)\.[a-z0-9.-]+(?:/.*)?")
_NAMES: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](?:/.*)?")
_TYPE: Final = re.compile(r"[a-z][a-z0-9]*-[a-z0-9-]+")
_LONGEST_RUN: Final = {"sagemaker": 28 * 86400, "vertex": 7 * 86400}
"""Seconds that a job may run at most. SageMaker: MaxRuntimeInSeconds in its API reference; Vertex AI: "Quotas and
limits" of custom training. Both read in November 2026."""
_SHORTEST_RUN: Final = {"batch": 60}
"""Seconds, as AWS Batch's API reference has it of JobTimeout.attemptDurationSeconds."""


def check(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of ``platform`` and of what ``train`` asks of it."""
    platform, train = spec.platform, spec.train
    if platform is None:
        return
    provider = platform.provider
    yield from known_keys(("platform",), KEYS, provider, f"provider {provider}", sources)
    service = service_of(spec)
    if train is not None:
        yield from _train(spec, sources, service)
    if provider == "local":
        return
    if service in _NEEDED:
        for key in _NEEDED[service]:
            if getattr(platform, key) is None and not sources.wrote("platform", key):
                yield sources.error(("platform",), f"{service} needs `{key}:`", f"add `{key}:` to platform", key=True)
    yield from _store(spec, sources)
    yield from settings(platform, service, ("platform",), sources)
    yield from _limits(spec, sources)
    yield from _existing(spec, sources)


def _existing(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """What is said to be there has to be named, and to be something that could be created."""
    platform = spec.platform
    known = _EXISTING.get(platform.provider)
    for index, word in enumerate(platform.existing if known is not None else ()):
        at: Path = ("platform", "existing", index)
        if known is not None and word not in known:
            yield sources.error(at, f"nothing of that kind is created for {platform.provider}", ", ".join(known))
        elif word not in ("image", "logs") and getattr(platform, word) is None:
            yield sources.error(at, f"platform names no {word}", f"add `{word}:` to platform, or remove this")


def service_of(spec: Spec) -> str:
    """The service that trains; ``local``, or empty where the spec does not say which."""
    services = SERVICES[spec.platform.provider]
    chosen = spec.train.service if spec.train is not None else None
    return chosen if chosen in services else services[0] if len(services) == 1 else "" if services else "local"


def _train(spec: Spec, sources: Sources, service: str) -> Iterator[SpecError]:
    train, provider = spec.train, spec.platform.provider
    services = SERVICES[provider]
    at: Path = ("train", "service")
    if train.service is not None and train.service not in services:
        hint = f"it has {' and '.join(services)}" if services else "remove it"
        yield sources.error(at, f"provider {provider} has no service {train.service}", hint)
    elif train.service is None and len(services) > 1 and not sources.wrote(*at):
        hint = f"add `service: {services[0]}` or `service: {services[1]}` to train"
        yield sources.error(("train",), f"provider {provider} has several services that train", hint, key=True)
    if provider == "local":
        if train.image is not None:
            yield sources.error(("train", "image"), "provider local runs no containers", "remove it", key=True)
    else:
        if train.image is None and not sources.wrote("train", "image"):
            hint = "add `image:` to train: a container image with Python 3.9 or newer and what the function imports"
            yield sources.error(("train",), f"provider {provider} runs the training in a container", hint, key=True)
        if train.requirements is not None:
            hint = "put them into the image"
            yield sources.error(("train", "requirements"), "environments are made for local alone", hint, key=True)
    cloud = _TRACKS.get(train.track)
    if cloud is not None and cloud != provider:
        hint = "write `track: mlflow`, or leave it out"
        yield sources.error(("train", "track"), f'"{train.track}" is {cloud}\'s, the provider is {provider}', hint)
    if service and isinstance(sources.merged["train"].get("resources"), dict):
        yield from known_keys(("train", "resources"), _RESOURCES, service, service, sources)
    if service and service != "local":
        yield from _machines(spec, sources, service)
        yield from _runs(spec, sources, service)


def _machines(spec: Spec, sources: Sources, service: str) -> Iterator[SpecError]:
    resources, provider = spec.train.resources, spec.platform.provider
    machine, path = resources.machine, ("train", "resources", "machine")
    several = isinstance(machine, list)
    known = capabilities.of(provider).get("machines", {}).get(service)
    for index, name in enumerate(machine if isinstance(machine, list) else [machine] if machine else []):
        at: Path = (*path, index) if several else path
        if known is not None and name not in known:
            near = suggest(name, known)
            hint = f'did you mean "{near}"?' if near else f"{service} has {len(known)}, e.g. {known[0]}"
            yield sources.error(at, f'{service} has no machine type "{name}"', hint)
        elif service == "vertex" and not _TYPE.fullmatch(name):
            yield sources.error(at, f'"{name}" is no machine type of Google Cloud', "e.g. n1-standard-4")
    wrote = sources.wrote("train", "resources", "machine")
    if service in ("sagemaker", "vertex") and machine is None and not wrote:
        yield sources.error(("train",), f"{service} needs a machine type", "add `resources: {machine: …}`", key=True)
    if service == "vertex" and resources.accelerator is not None:
        types = capabilities.of("gcp")["accelerators"]
        if resources.accelerator not in types:
            near = suggest(resources.accelerator, types)
            hint = f'did you mean "{near}"?' if near else f"e.g. {types[0]}"
            yield sources.error(
                ("train", "resources", "accelerator"), f'Vertex AI has no accelerator "{resources.accelerator}"', hint
            )
        elif resources.gpu is None:
            yield sources.error(
                ("train", "resources", "accelerator"), "how many?", "add `gpu: 1` to train.resources", key=True
            )
    if service == "vertex" and resources.gpu is not None and resources.accelerator is None:
        hint = "add `accelerator: NVIDIA_TESLA_T4` to train.resources"
        yield sources.error(("train", "resources", "gpu"), "GPUs of which type?", hint, key=True)
    if service == "batch" and (resources.cpu is None or resources.memory is None):
        hint = "add `cpu: 2` and `memory: 4 GiB` to train.resources"
        yield sources.error(("train",), "batch needs processors and memory", hint, key=True)


def _runs(spec: Spec, sources: Sources, service: str) -> Iterator[SpecError]:
    """How long and on which spot machines."""
    train, platform = spec.train, spec.platform
    at: Path = ("train", "timeout")
    seconds = train.timeout.total_seconds() if train.timeout is not None else None
    if seconds is not None and seconds > _LONGEST_RUN.get(service, seconds):
        yield sources.error(at, f"a job of {service} runs at most {_LONGEST_RUN[service] // 86400} d", "shorten it")
    if seconds is not None and seconds < _SHORTEST_RUN.get(service, seconds):
        yield sources.error(at, f"a job of {service} may run for {_SHORTEST_RUN[service]} s at least", "lengthen it")
    spot = train.resources.spot
    if spot is None:
        return
    for key, name in (("batch", "spot_queue"), ("azureml", "spot_compute")):
        if service == key and getattr(platform, name) is None:
            hint = f"add `{name}:` to platform"
            yield sources.error(
                ("train", "resources", "spot"), f"{service} has spot machines elsewhere", hint, key=True
            )
    yield from checkpoint(spot.checkpoint, platform, ("train", "resources", "spot", "checkpoint"), sources)


def checkpoint(address: str, platform: Platform, path: Path, sources: Sources) -> Iterator[SpecError]:
    """Checkpoints are kept in a store of the provider, or on the volume."""
    schemes = SCHEMES[platform.provider]
    on_volume = platform.volume is not None and address.startswith(platform.volume.path)
    if not on_volume and not address.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        hint = f"e.g. {EXAMPLES[schemes[0]]}/checkpoints"
        yield sources.error(path, f"provider {platform.provider} keeps none there", hint)


def _store(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """A cluster has no store of its own."""
    platform = spec.platform
    if platform.provider != "kubernetes":
        return
    named = [key for key in ("bucket", "volume") if sources.wrote("platform", key)]
    if len(named) != 1:
        message = "pods have no place for data and models" if not named else "either a bucket or a volume"
        yield sources.error(("platform",), message, "add one of `bucket:` and `volume:`", key=True)
    if platform.bucket_connection is None and platform.bucket is not None:
        hint = "add `bucket_connection:`, e.g. aws_default"
        yield sources.error(("platform", "bucket"), "nothing says how Airflow gets at it", hint, key=True)


def settings(platform: Platform, service: str, path: Path, sources: Sources) -> Iterator[SpecError]:
    """What is written at ``path`` of a platform's bucket, region, role and network."""
    if platform.bucket is not None and sources.wrote(*path, "bucket"):
        yield from _bucket(platform, (*path, "bucket"), sources)
    if platform.region is not None and sources.wrote(*path, "region"):
        yield from _region(platform.region, platform.provider, service, (*path, "region"), sources)
    pattern = capabilities.of(platform.provider).get("patterns", {}).get("role")
    if pattern is not None and sources.wrote(*path, "role") and not re.fullmatch(pattern, platform.role or ""):
        hint = "e.g. arn:aws:iam::123456789012:role/ml-training"
        yield sources.error((*path, "role"), f'"{platform.role}" is no role', hint)
    if service in _NETWORK:  # a queue of Batch has a network of its own
        yield from known_keys((*path, "network"), _NETWORK, service, service, sources)


def _bucket(platform: Platform, path: Path, sources: Sources) -> Iterator[SpecError]:
    schemes = SCHEMES[platform.provider]
    found = _BUCKET.fullmatch(platform.bucket or "")
    good = found is not None and found["scheme"] in schemes
    if good and found is not None:
        good = bool((_ABFSS if found["scheme"] == "abfss" else _NAMES).fullmatch(found["rest"]))
    if not good:
        hint = "e.g. " + " or ".join(EXAMPLES[s] for s in schemes)
        yield sources.error(path, f'"{platform.bucket}" is no bucket of provider {platform.provider}', hint)


def _region(region: str, provider: str, service: str, path: Path, sources: Sources) -> Iterator[SpecError]:
    known = capabilities.of(provider).get("regions", {}).get(service)
    if known is None or region in known:
        return
    near = suggest(region, known)
    hint = f'did you mean "{near}"?' if near else f"it is in {', '.join(known[:6])}, …"
    yield sources.error(path, f'{service} is in no region "{region}"', hint)


def _limits(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    platform = spec.platform
    limits = capabilities.of(platform.provider).get("limits", {})
    most = limits.get("tags", 50) - _OWN_TAGS
    if len(platform.tags) > most:
        message = f"{len(platform.tags)} tags, and a job of {platform.provider} takes {most} besides Tidemill's own"
        yield sources.error(("platform", "tags"), message, "remove some", key=True)
    for name in platform.tags:
        if name.lower().startswith("tidemill"):
            yield sources.error(
                ("platform", "tags", name), "Tidemill sets tags of that name itself", "rename it", key=True
            )
    for name in ("subnets", "security_groups"):
        values = getattr(platform.network, name, None) or []
        if len(values) > limits.get(name, len(values)):
            message = f"{len(values)}, and a job takes {limits[name]} at most"
            yield sources.error(("platform", "network", name), message, "remove some", key=True)
