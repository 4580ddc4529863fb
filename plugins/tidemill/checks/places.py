"""The places that a training falls back to: each is another one, and what it uses is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tidemill.checks.common import known_keys
from tidemill.checks.platform import KEYS, checkpoint, service_of, settings
from tidemill.platforms.places import at
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec
from tidemill.spec.platform import Place, Platform

_EVERYWHERE: Final = ("after", "image", "checkpoint", "price")
_NOT_THERE: Final = ("tags", "fallback", "existing", "processing")
_KEYS: Final = {
    provider: (*_EVERYWHERE, *(key for key in keys if key not in _NOT_THERE)) if keys else ()
    for provider, keys in KEYS.items()
}
_QUEUED: Final = ("batch", "azureml", "kubernetes")
"""The services that keep a job queued, for however long, while there is no machine for it."""
_OF_A_REGION: Final = {
    "encryption_key": re.compile(r"arn:[^:]+:kms:(?P<region>[^:]+):|projects/[^/]+/locations/(?P<location>[^/]+)/"),
    "queue": re.compile(r"arn:[^:]+:batch:(?P<region>[^:]+):"),
    "spot_queue": re.compile(r"arn:[^:]+:batch:(?P<region>[^:]+):"),
}
_ECR: Final = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.")


def check(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of ``platform.fallback``."""
    platform = spec.platform
    if platform is None or platform.provider == "local":
        return
    service, before = service_of(spec), [at(platform, Place())]
    for index, place in enumerate(platform.fallback):
        path: Path = ("platform", "fallback", index)
        yield from known_keys(path, _KEYS, platform.provider, f"provider {platform.provider}", sources)
        there = at(platform, place)
        if there.model_copy(update={"price": platform.price}) in before:
            hint = "give it another region, queue, cluster or namespace"
            yield sources.error(path, "this place stands before it already", hint)
            continue
        before.append(there.model_copy(update={"price": platform.price}))
        yield from settings(there, service, path, sources)
        yield from _elsewhere(spec, place, there, path, sources)
        yield from _spot(spec, place, path, sources)
        spot = spec.train.resources.spot if spec.train is not None else None
        if service in _QUEUED and place.after is None and (spot is None or spot.wait is None):
            message = f"it would never be tried: {service} keeps a job queued till there is a machine"
            yield sources.error(path, message, "add `after: 30 min`")


def _spot(spec: Spec, place: Place, path: Path, sources: Sources) -> Iterator[SpecError]:
    if place.checkpoint is None:
        return
    at_key: Path = (*path, "checkpoint")
    if spec.train is not None and spec.train.resources.spot is None:
        message = "a training without spot machines keeps no checkpoints"
        yield sources.error(at_key, message, "remove it, or add `spot:` to train.resources", key=True)
    else:
        yield from checkpoint(place.checkpoint, at(spec.platform, place), at_key, sources)


def _elsewhere(spec: Spec, place: Place, there: Platform, path: Path, sources: Sources) -> Iterator[SpecError]:
    """In another region: what belongs to the first one cannot be used."""
    here, region = spec.platform, there.region
    if region is None or region == here.region:
        return
    needed: dict[str, str | bool] = {}
    if here.provider == "aws":
        needed["bucket"] = place.bucket is None and "a job reads a bucket of its own region"
        spot = spec.train.resources.spot if spec.train is not None else None
        needed["checkpoint"] = spot is not None and place.checkpoint is None and "so do checkpoints lie in it"
        network = here.network is not None and bool(here.network.subnets or here.network.security_groups)
        needed["network"] = network and place.network is None and "subnets and security groups are of one region"
        needed["image"] = _image(spec, place, region)
    for key, pattern in _OF_A_REGION.items():
        found = pattern.match(getattr(there, key) or "")
        its = found and next(filter(None, found.groups()))
        needed[key] = bool(its) and its not in (region, "global") and f"that of the platform is in {its}"
        if needed[key] and sources.wrote(*path, key):
            yield sources.error((*path, key), f"it is in {its}, the place in {region}", "name one of that region")
            needed[key] = False
    for key, why in needed.items():
        if why:
            yield sources.error(path, f"{region} needs its own `{key}:`; {why}", f"add `{key}:` here")


def _image(spec: Spec, place: Place, region: str) -> str | bool:
    """SageMaker takes images of Amazon ECR from the job's own region ("must be in the same region", as the SDK's model
    has it of the images of models)."""
    if spec.train is None or spec.train.service != "sagemaker":
        return False
    found = _ECR.match(place.image or spec.train.image or "")
    return found is not None and found["region"] != region and f"SageMaker takes none of {found['region']}"
