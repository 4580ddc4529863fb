"""The root of everything Tidemill raises for a person to read."""

from __future__ import annotations


class TidemillError(Exception):
    """A mistake or a fault whose text is written for whoever has to act on it; it is shown without a stack trace."""
