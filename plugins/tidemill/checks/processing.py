"""What can be said about ``platform.processing`` without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidemill.platforms import capabilities
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec

_AT: Final[Path] = ("platform", "processing")
_LONGEST: Final = 777_600
"""Seconds, as the SDK's model has it of ProcessingMaxRuntimeInSeconds."""
_MOST_PREFERENCES: Final = 5
"""Machine types, as the SDK's model has it of ProcessingInstancePreferenceList."""


def check(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of steps that are to run as jobs. Which providers know them at all, the platform's check says."""
    platform = spec.platform
    if platform is None or platform.processing is None or platform.provider != "aws":
        return
    given = platform.processing
    if spec.train is not None and spec.train.service == "batch":
        hint = "write `service: sagemaker`, or remove it"
        yield sources.error(_AT, "AWS Batch computes no steps", hint, key=True)
        return
    there = {
        "validate": spec.data is not None and spec.data.expect is not None,
        "evaluate": spec.train is not None,
        "monitor": spec.monitor is not None,
        "score": spec.score is not None,
    }
    for index, step in enumerate(given.steps or ()):
        if not there[step]:
            has = " and ".join(name for name, found in there.items() if found)
            yield sources.error((*_AT, "steps", index), f"the pipeline has no {step}", f"it has {has}")
    yield from _machines(given.machine, sources)
    if platform.encryption_key is not None:
        yield from _disks(given.machine, sources)
    if given.timeout is not None and given.timeout.total_seconds() > _LONGEST:
        message = f"a processing job runs at most {_LONGEST // 86_400} d"
        yield sources.error((*_AT, "timeout"), message, "shorten it")


def _machines(given: str | list[str], sources: Sources) -> Iterator[SpecError]:
    known = capabilities.of("aws")["machines"]["sagemaker-processing"]
    names = given if isinstance(given, list) else [given]
    for index, name in enumerate(names):
        if name not in known:
            near = suggest(name, known)
            hint = f'did you mean "{near}"?' if near else f"there are {len(known)}, e.g. ml.m5.xlarge"
            at: Path = (*_AT, "machine", index) if isinstance(given, list) else (*_AT, "machine")
            yield sources.error(at, f'SageMaker has no machine type "{name}" for processing jobs', hint)
    if len(names) > _MOST_PREFERENCES:
        message = f"{len(names)} machine types, and a processing job takes {_MOST_PREFERENCES} at most"
        yield sources.error((*_AT, "machine"), message, "remove some", key=True)


def _disks(given: str | list[str], sources: Sources) -> Iterator[SpecError]:
    """A job says for all of its types whether a key encrypts the disks, and types with disks of their own take none."""
    names = given if isinstance(given, list) else [given]
    own = [name for name in names if capabilities.has_local_disks(name)]
    if own and len(own) < len(names):
        message = f"platform.encryption_key encrypts no disks of {own[0]}, and so of none of these types"
        hint = "name only types with local disks, or only types without"
        yield sources.error((*_AT, "machine"), message, hint, key=True)
