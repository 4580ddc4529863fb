"""The functions of the workflows: as a user would write them."""

from __future__ import annotations

from typing import Any


def countries(region: str = "north") -> list[str]:
    """The countries of a region."""
    return ["dk", "no", "se"] if region == "north" else ["it"]


def choose(threshold: float, rows: int = 0) -> str:
    """The id of the step that goes on."""
    return "load.clean" if rows > threshold else "nothing"


def clean(country: str, path: str) -> dict[str, Any]:
    """What was cleaned."""
    return {"country": country, "rows": len(path)}


def arrived(path: str) -> bool:
    """Whether a file is there."""
    return bool(path)


def page(context: Any, team: str = "ops") -> None:
    """Call somebody."""


async def late(team: str, context: Any = None) -> None:
    """Tell somebody that a run is late."""


def euro(value: float) -> str:
    """An amount as people write it."""
    return f"{value:.2f} €"
