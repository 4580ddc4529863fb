"""Sketches: what is kept of a column, and of a table, once its rows are gone.

A sketch answers every distance of `docs/drift.md` without the rows. Sketches counted on the edges of one reference
are added up exactly (`tidemill.drift.merging`), so that a window may be summarised in parts, anywhere. Existing
libraries of mergeable sketches were no help for the numeric one: quantile sketches (KLL, t-digest) keep ranks only to
about 1 % at this size and no sums, without which a Wasserstein distance is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tidemill.drift.errors import DriftError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["numeric", "categorical", "boolean", "text", "timestamp", "other"]
BINS = 250
"""Quantile bins of a numeric reference: one holds 0.4 % of the rows, which bounds the error of the KS statistic."""
CATEGORIES = 10_000
"""So many categories are kept by name, the most frequent; the rows of all others are counted together."""
CATEGORY_CHARS = 100
"""Longer categories are kept as their beginning and a digest: they stay apart, and cannot make a sketch large."""
NULL_TYPE = "null"
"""The type of a column that has nulls only, in formats that know no better."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSketch:
    """One column: its type as Arrow names it, its rows, and how many of them are null (NaN counts as null)."""

    kind: ClassVar[Kind]
    dtype: str
    rows: int
    nulls: int

    @property
    def present(self) -> int:
        """Rows that are not null."""
        return self.rows - self.nulls

    @property
    def null_share(self) -> float:
        """The share of the rows that is null, 0 where there are no rows."""
        return self.nulls / self.rows if self.rows else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericSketch(ColumnSketch):
    """Numbers: finite values counted and summed per bin (-inf, e₁], (e₁, e₂], …, (eₖ, inf) of ``edges``.

    ``counts`` and ``sums`` have one entry more than ``edges``. A value of the reference that holds much of the rows
    has a bin of its own, (nextafter(v, -inf), v]. ``deciles`` are positions in ``edges``: the edges of the bins that
    PSI and its kin are defined on. ``lows`` and ``highs`` are the least and the greatest value of each bin (inf and
    -inf where it is empty), without which mass in a wide bin could be anywhere; a compact sketch has none, since a bin
    of a reference holds few rows or one value. ``minimum``, ``maximum``, ``mean`` and ``m2`` (the sum of squared
    deviations from the mean) are of the finite values. ``octaves`` counts the finite values by their distance from
    ``centre``, the reference's median: entry i those between 2ᵉ and 2ᵉ⁺¹ away, e = ``top`` - i, from the farthest
    down; it tells whether the tails have a mean. ``unparsed`` rows hold text where numbers were expected, ``examples``
    of which are kept. ``error`` bounds how far a share of rows below an edge may be off: 0 unless sketches of
    different edges were merged. ``compact``: sums are rounded to what ``to_bytes`` stores.
    """

    kind: ClassVar[Kind] = "numeric"
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    deciles: NDArray[np.int64]
    lows: NDArray[np.float64] | None = None
    highs: NDArray[np.float64] | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    m2: float = 0.0
    negative_infinities: int = 0
    positive_infinities: int = 0
    centre: float = 0.0
    octaves: tuple[int, ...] = ()
    top: int = 0
    distinct: int | None = None
    distinct_exact: bool = False
    unparsed: int = 0
    examples: tuple[str, ...] = ()
    error: float = 0.0
    compact: bool = False

    @property
    def finite(self) -> int:
        """Rows with a finite number."""
        return self.present - self.unparsed - self.negative_infinities - self.positive_infinities

    @property
    def values(self) -> int:
        """Rows with a number, infinities included."""
        return self.present - self.unparsed

    @property
    def std(self) -> float | None:
        """The standard deviation of the finite values (of the population), None without any."""
        return math.sqrt(max(self.m2, 0.0) / self.finite) if self.finite else None

    def decile_counts(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The edges of the bins of PSI and its kin, and the rows of each bin, infinities included; one bin more
        than edges."""
        import numpy as np

        positions = self.deciles
        below = np.cumsum(self.counts)[positions] if len(positions) else np.zeros(0, dtype=np.int64)
        total = int(self.counts.sum())
        counts = np.diff(np.concatenate([[0], below, [total]])).astype(np.int64)
        counts[0] += self.negative_infinities
        counts[-1] += self.positive_infinities
        return self.edges[positions], counts


@dataclass(frozen=True, kw_only=True, eq=False)
class CategoricalSketch(ColumnSketch):
    """Categories and how many rows have each; ``pooled`` rows have one that is not kept by name.

    Of a reference the most frequent are first, equally frequent ones by name. A sketch made against a reference has
    that one's categories first, in its order (``known`` of them, rows of 0 included), then new ones. ``distinct`` is
    exact or an estimate. ``undercount``: a category kept by name may have so many rows more than counted (they are
    in ``pooled``), and one that is not may have so many; 0 wherever counts are exact.
    """

    kind: ClassVar[Kind] = "categorical"
    categories: tuple[str, ...]
    counts: NDArray[np.int64]
    pooled: int = 0
    known: int = 0
    distinct: int | None = None
    distinct_exact: bool = True
    undercount: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class BooleanSketch(ColumnSketch):
    """True and false."""

    kind: ClassVar[Kind] = "boolean"
    trues: int
    falses: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSketch(ColumnSketch):
    """Free text, nearly all of it different: compared by its length in characters."""

    kind: ClassVar[Kind] = "text"
    lengths: NumericSketch
    distinct: int | None = None
    distinct_exact: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class TimestampSketch(ColumnSketch):
    """Dates and times: they move with the window by nature, so they are not compared. In UTC where they have a
    zone; ``outside`` rows lie outside the years 1 to 9999, or hold text that is no time."""

    kind: ClassVar[Kind] = "timestamp"
    minimum: datetime | None = None
    maximum: datetime | None = None
    outside: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherSketch(ColumnSketch):
    """A column of a type that is not compared (lists, structures, bytes, durations), or of nulls only."""

    kind: ClassVar[Kind] = "other"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketch:
    """A table: its rows, and its columns by name, in their order. ``meta`` is what whoever made it wants to keep
    with it, as JSON."""

    rows: int
    columns: Mapping[str, ColumnSketch] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def with_columns(self, columns: Mapping[str, ColumnSketch]) -> Sketch:
        """The sketch with these columns besides, or instead of those of the same name."""
        return replace(self, columns={**self.columns, **columns})

    def to_bytes(self) -> bytes:
        """The sketch as bytes: versioned, checksummed, small; the same for equal sketches."""
        from tidemill.drift.codec import encode

        return encode(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Sketch:
        """Read what ``to_bytes`` gave; its distances are the same as before.

        Raises:
            DriftError: it is no sketch, damaged, or of a format this version does not know.
        """
        from tidemill.drift.codec import decode

        return decode(content)

    def write(self, path: str | Path) -> None:
        """Write the sketch to a file, whole or not at all."""
        import os

        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(self.to_bytes())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: str | Path) -> Sketch:
        """Read a sketch from a file.

        Raises:
            DriftError: the file cannot be read or holds no sketch.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise DriftError(f"{path} cannot be read as a sketch: {error.strerror or error}") from None
        try:
            return cls.from_bytes(content)
        except DriftError as error:
            raise DriftError(f"{path}: {error}") from None


def is_sketch(path: str | Path) -> bool:
    """Whether a file begins as a stored sketch does."""
    from tidemill.drift.codec import MAGIC

    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """The sketch of all rows together; see `tidemill.drift.merging.merge`."""
    from tidemill.drift.merging import merge as merged

    return merged(sketches)
