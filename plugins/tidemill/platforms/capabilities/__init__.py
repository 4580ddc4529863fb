"""What each cloud has, as its own SDK says: machine types, regions, limits. Read from files, without any SDK.

``scripts/capabilities.py`` writes the files; each names its source and date.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

# "You can't request a VolumeKmsKeyId when using an instance type with local storage" (ResourceConfig in the SDK's
# model); those disks are encrypted by their hardware. Families: "Instance types with local storage", EC2's user guide.
_LOCAL_DISKS: Final = re.compile(
    r"ml\.(?:g4dn|g5|gr?6e?|g7e|p3dn|p4de?|p5(?:e|en)?|p6[a-z0-9-]*|trn[0-9]\w*|[a-z]\d\w*d\w*)\."
)


@cache
def of(provider: str) -> dict[str, Any]:
    """What is known of a provider; empty where its SDK says nothing."""
    file = Path(__file__).with_name(f"{provider}.json")
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def has_local_disks(machine: str) -> bool:
    """Whether a machine type of SageMaker has disks of its own, which no key of ours encrypts."""
    return _LOCAL_DISKS.match(machine) is not None
