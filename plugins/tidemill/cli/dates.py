"""Instants on the command line."""

from __future__ import annotations

from datetime import datetime

from tidemill.cli.locate import UsageProblem
from tidemill.spec.units import instant


def bound(text: str | None, option: str) -> datetime | None:
    """The instant that an option names; ``None`` if it was not given.

    Raises:
        UsageProblem: it cannot be read.
    """
    if text is None:
        return None
    try:
        return instant(text)
    except ValueError as error:
        raise UsageProblem(f"{option}: {error}") from None
