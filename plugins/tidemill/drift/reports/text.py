"""Names and values of somebody's data as text of a page."""

from __future__ import annotations

import unicodedata
from html import escape


def shown(text: str) -> str:
    r"""``text`` escaped for HTML; characters that are not seen, or turn the order of others, as ``\u202e``.

    Spaces are kept visible where they would vanish: an empty name is ``""``.
    """
    from tidemill.spec.errors import printable

    visible = printable(text)
    if not visible or visible != visible.strip() or "  " in visible:
        visible = f'"{visible}"'.replace("  ", "\u00a0 ")
    return escape(visible, quote=True)


def isolated(text: str) -> str:
    """As ``shown``, for SVG: a right-to-left text does not turn round what stands beside it."""
    marked = shown(text)
    if any(unicodedata.bidirectional(char) in {"R", "AL", "AN"} for char in text):
        return f"\u2068{marked}\u2069"
    return marked
