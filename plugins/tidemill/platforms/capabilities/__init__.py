"""What each cloud has, as its own SDK says: machine types, regions, limits. Read from files, without any SDK.

``scripts/capabilities.py`` writes the files; each names its source and date.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def of(provider: str) -> dict[str, Any]:
    """What is known of a provider; empty where its SDK says nothing."""
    file = Path(__file__).with_name(f"{provider}.json")
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found
