"""The other places where pipelines may train (``platform.fallback``): what each needs is a root of its own.

A root is for one region, account or cluster.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, get_args

from tidemill.infra.needs import Asked, InfraProblem, Needs, Pipeline, Task
from tidemill.platforms.places import at, place_of
from tidemill.spec.document import Path
from tidemill.spec.platform import Existing, Place, Platform

_OF_A_PLACE: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "aws": dict.fromkeys(("queue", "spot_queue", "image", "logs", "network"), ("region", "role")),
    "gcp": {"logs": ("project", "region")},
    "azure": {
        "resource_group": ("subscription",),
        **dict.fromkeys(("workspace", "logs"), ("subscription", "resource_group")),
        **dict.fromkeys(("compute", "spot_compute"), ("subscription", "resource_group", "workspace")),
    },
    "kubernetes": {
        "namespace": ("connection",),
        "service_account": ("connection", "namespace"),
        "volume": ("connection", "namespace"),
    },
}
"""What is another thing elsewhere though it has the same name, and the keys of the platform that say where."""
_THERE: Final[tuple[Task, ...]] = ("train", "track")
"""The tasks that a training's place matters to; all others keep to the platform itself."""


def at_place(needs: Needs, number: int) -> Needs:
    """What the pipelines need at the place that is the ``number``-th of their ``platform.fallback``, from 1.

    What a place shares with the platform itself (a role, a bucket) is there already, by the platform's own root.

    Raises:
        InfraProblem: none of them has so many.
    """
    found = tuple(_moved(p, number - 1) for p in needs.pipelines if 1 <= number <= len(p.platform.fallback))
    if not found:
        most = max(len(pipeline.platform.fallback) for pipeline in needs.pipelines)
        told = f"the most that one has is {most}" if most else "none has any"
        raise InfraProblem(f"--place {number}: no spec here has so many places in its platform.fallback; {told}")
    return Needs(needs.provider, found)


def calls(needs: Needs) -> list[str]:
    """How the roots of the other places are written, told in the README."""
    told: dict[tuple[int, str], list[Asked]] = {}
    for pipeline in needs.pipelines:
        for index, place in enumerate(pipeline.platform.fallback):
            name = place_of(at(pipeline.platform, place))
            told.setdefault((index + 1, name), []).append(pipeline.asked(f"platform.fallback.{index}"))
    environment = needs.pipelines[0].environment
    chosen = f" --environment {environment}" if environment else ""
    found: list[str] = []
    for (number, name), asked in sorted(told.items()):
        files = " ".join(dict.fromkeys(one.file for one in asked))
        found.append(
            f"{asked[0].file}:{asked[0].line}: what trainings need at {name or 'another place'} is a root of its own, "
            f"applied after this one: `tidemill infra {files}{chosen} --place {number} --output FOLDER`"
        )
    return found


def _moved(pipeline: Pipeline, index: int) -> Pipeline:
    spec, place = pipeline.spec, pipeline.platform.fallback[index]
    before, spot = spec.platform, spec.train.resources.spot
    platform = at(before, place)
    words = get_args(Existing)
    moved = frozenset(word for word in words if _differs(before, platform, word))
    there = {word for word in words if getattr(place, word, None) is None} - moved
    platform = platform.model_copy(update={"existing": sorted({*before.existing, *there})})
    if place.checkpoint is not None and spot is not None:
        spot = spot.model_copy(update={"checkpoint": place.checkpoint})
    resources = spec.train.resources.model_copy(update={"spot": spot})
    train = spec.train.model_copy(update={"image": place.image or spec.train.image, "resources": resources})
    return replace(
        pipeline,
        spec=spec.model_copy(update={"platform": platform, "train": train}),
        tasks=tuple(task for task in pipeline.tasks if task in _THERE),
        place=lambda path: pipeline.place(_path(path, place, index)),
        home=pipeline,
        moved=moved,
    )


def _differs(before: Platform, platform: Platform, word: str) -> bool:
    keys = _OF_A_PLACE[platform.provider].get(word, ())
    return any(getattr(before, key) != getattr(platform, key) for key in keys)


def _path(path: Path, place: Place, index: int) -> Path:
    """Where a key is written that the place says itself; elsewhere it is as at the platform."""
    last = path[-1] if path else ""
    of_training = {"image": ("train", "image"), "checkpoint": ("train", "resources", "spot", "checkpoint")}
    own = path[:1] == ("platform",) or path == of_training.get(str(last))
    if own and last in place.model_fields_set:
        return ("platform", "fallback", index, last)
    return path
