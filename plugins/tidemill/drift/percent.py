"""Shares as texts."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share as a text of per cent: 0.304 is ``30.4%``; what is not 0 or 100 % is not rounded to it."""
    text = f"{share * 100:.1f}".removesuffix(".0")
    if text == "0" and share > 0:
        return "<0.1%"
    return ">99.9%" if text == "100" and share < 1 else f"{text}%"
