"""What the drift engine refuses, in words for whoever has to act on it."""

from __future__ import annotations

from tidemill.errors import TidemillError


class DriftError(TidemillError, ValueError):
    """Drift cannot be measured as asked; the message says what to do."""
