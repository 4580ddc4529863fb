"""What is drawn of one column: the shares of reference and current rows, in bars that a person can read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """The shares (0 to 1, of all rows) of a category, or of what has no place on an axis, such as nulls.

    ``special``: the label is ours ("null", "12 others") and not a value of the data.
    """

    label: str
    reference: float
    current: float
    special: bool = False

    @property
    def difference(self) -> float:
        """By how much the share has grown."""
        return self.current - self.reference


@dataclass(frozen=True)
class Histogram:
    """Numbers in bins of equal width on a linear or logarithmic axis, and beside it what lies off the axis."""

    edges: tuple[float, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    aside: tuple[Bar, ...] = ()
    log: bool = False
    times: bool = False
    """The numbers are seconds since 1970, UTC."""


@dataclass(frozen=True)
class Categories:
    """Categories, the most frequent first, then what is left of them."""

    bars: tuple[Bar, ...]


Picture = Histogram | Categories
