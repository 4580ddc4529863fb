"""Where a training may run, in the order in which that is tried: the platform itself and the places it falls back to,
on each of the spec's machine types, on spot machines and then on others.

A spot machine elsewhere comes before one on demand here, since it costs a fraction of it; the platform itself comes
first among both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tidemill.spec.models import Train
from tidemill.spec.platform import Place, Platform

_PREFERENCES: Final = 5
_OF_TRAINING: Final = ("after", "image", "checkpoint")
"""The keys of a place that are not the platform's own."""


@dataclass(frozen=True)
class Choice:
    """One way to run a training. ``platform`` is its place's; ``machines`` are the types of which its job takes one, in
    the order of preference, none where the platform chooses; ``after`` is how long a job may be queued at the place
    before this one."""

    platform: Platform
    image: str = ""
    machines: tuple[str, ...] = ()
    spot: bool = False
    checkpoint: str | None = None
    after: timedelta | None = None

    def __str__(self) -> str:
        """What is told of it: ``ml.m5.xlarge (spot) in us-east-1``."""
        machine = " or ".join(self.machines) or "the platform’s choice"
        place = place_of(self.platform)
        return f"{machine}{' (spot)' if self.spot else ''}{f' in {place}' if place else ''}"

    @property
    def machine(self) -> str | None:
        """The machine type, where it is one."""
        return self.machines[0] if len(self.machines) == 1 else None

    def to_json(self) -> dict[str, Any]:
        """What a task remembers; see :meth:`from_json`."""
        return {
            "platform": self.platform.model_dump(mode="json", exclude_none=True, by_alias=True),
            "image": self.image,
            "machines": list(self.machines),
            "spot": self.spot,
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Choice:
        """A choice that was made, though the spec may list others by now."""
        platform = Platform.model_validate(value["platform"])
        return cls(**{**value, "platform": platform, "machines": tuple(value["machines"])})

    def is_at(self, other: Choice) -> bool:
        """Whether both are at one place, and both or neither on spot machines."""
        return (self.platform, self.spot) == (other.platform, other.spot)


def choices(platform: Platform, train: Train) -> list[Choice]:
    """Every way to run the training, in order."""
    machine, spot = train.resources.machine, train.resources.spot
    machines = list(dict.fromkeys(machine)) if isinstance(machine, list) else [machine] if machine else []
    return [
        Choice(
            platform=at(platform, place),
            image=place.image or train.image or "",
            machines=group,
            spot=on_spot,
            checkpoint=place.checkpoint or spot.checkpoint if spot is not None else None,
            after=place.after,
        )
        for on_spot in ((False,) if spot is None else (True,) if spot.fallback == "fail" else (True, False))
        for place in (Place(), *platform.fallback)
        for group in _groups(machines, 1 if on_spot else _together(platform, place, train))
    ]


def following(found: Sequence[Choice], last: Choice, *, elsewhere: bool = False) -> Choice | None:
    """What is tried after ``last``; ``elsewhere``: not at that place, whose other machines are passed over.

    The first of all if the spec no longer has ``last``; ``None`` if it was the last of all.
    """
    same = [index for index, choice in enumerate(found) if choice.is_at(last) and choice.machines == last.machines]
    rest = found[same[0] + 1 :] if same else found
    return next((choice for choice in rest if not elsewhere or not choice.is_at(last)), None)


def at(platform: Platform, place: Place) -> Platform:
    """The platform as it is at a place; it falls back to no other one."""
    said = {key: value for key in place.model_fields_set if (value := getattr(place, key)) is not None}
    update = {key: value for key, value in said.items() if key not in _OF_TRAINING}
    return platform.model_copy(update={**update, "fallback": []})


def place_of(platform: Platform) -> str:
    """What a person calls the place: its region, its cluster, its namespace."""
    named = {
        "aws": (platform.region,),
        "gcp": (platform.region,),
        "azure": (platform.workspace, platform.compute),
        "kubernetes": (platform.connection, platform.namespace),
    }.get(platform.provider, ())
    return "/".join(part for part in named if part)


def _together(platform: Platform, place: Place, train: Train) -> int:
    """How many machine types one job on demand may name.

    SageMaker takes five ("InstancePreferences" in the SDK's model, where that excludes managed spot training). Not with
    a key: disks of some types take none, and so none would have one ("VolumeKmsKeyId").
    """
    key = at(platform, place).encryption_key
    return _PREFERENCES if train.service == "sagemaker" and key is None else 1


def _groups(machines: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(machines[n : n + size]) for n in range(0, len(machines), size)] or [()]
