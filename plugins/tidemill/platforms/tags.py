"""The one scheme of tags: what whose work costs is found by, on jobs and on what Terraform makes for them.

Of every job and every resource: the pipeline, the environment, the owner, and the spec's own ``platform.tags``, in
which the cost centre stands as ``cost-centre``. Jobs have more besides, by which one job is told from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_LONGEST: Final = 63

PIPELINE: Final = "tidemill-pipeline"
ENVIRONMENT: Final = "tidemill-environment"
OWNER: Final = "tidemill-owner"
SHARED: Final = (PIPELINE, ENVIRONMENT, OWNER)
"""What Tidemill sets on jobs and on resources alike; not the environment where none is chosen."""
OF_JOBS: Final = (
    "tidemill-installation", "tidemill-job", "tidemill-run", "tidemill-task", "tidemill-as-of", "tidemill-attempt",
)  # fmt: skip
"""What Tidemill sets on jobs alone."""


def label(text: str) -> str:
    """A key or value that every cloud takes for a tag: Google Cloud's labels are the strictest."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:_LONGEST].strip("-_") or "none"


def tags_of(pipeline: str, owner: str, environment: str | None, own: Mapping[str, str]) -> dict[str, str]:
    """The tags of a pipeline; ``own``: its spec's ``platform.tags``."""
    found = {label(key): label(value) for key, value in own.items()}
    if environment:
        found[ENVIRONMENT] = label(environment)
    return {**found, OWNER: label(owner), PIPELINE: label(pipeline)}


def common(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The tags that all of some pipelines have, in order: those of what they share."""
    first, *rest = several
    return {key: first[key] for key in sorted(first) if all(one.get(key) == first[key] for one in rest)}
