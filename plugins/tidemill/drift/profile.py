"""The profile of a reference: per column the fixed bins that later rows are counted into.

A profile is small JSON, whatever the number of rows: numeric columns keep their deciles, categorical ones the
counts of their most frequent categories, the others pooled. It is all that drift needs of the training rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.drift.errors import DriftError as DriftError

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
CATEGORIES = 50
"""So many categories are kept by name; a long tail of rare ones is one bin, so that it adds no noise."""
CATEGORY_CHARS = 100
"""Longer categories are told apart by their beginning: free text must not make a profile large."""

Kind = Literal["numeric", "categorical", "other"]


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """One column of the reference. Shares are of all its rows, from 0 to 1; those of the bins, ``nulls`` and,
    for a categorical column, ``rest`` add up to 1 (0 where there are no rows).

    A numeric column has the bins (-inf, e₁], (e₁, e₂], …, (eₙ, inf) of ``edges``; a categorical one a bin for
    each of ``categories`` and one, ``rest``, for all others. A column of another kind has none: ``dtype`` says
    what it is. NaN counts as null.
    """

    kind: Kind
    dtype: str
    nulls: float
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    rest: float = 0.0
    distinct: int | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A reference: how many rows it has, and its columns by name, in their order."""

    rows: int
    columns: Mapping[str, ColumnProfile] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The profile as a JSON-ready object."""
        columns = {name: {k: v for k, v in asdict(c).items() if v is not None} for name, c in self.columns.items()}
        return {"tidemill_profile": FORMAT, "rows": self.rows, "columns": columns}

    @classmethod
    def from_json(cls, value: Any) -> Profile:
        """Read what ``to_json`` wrote.

        Raises:
            DriftError: the object is no profile, or of a format this version does not know.
        """
        if not isinstance(value, dict) or value.get("tidemill_profile") != FORMAT:
            raise DriftError(f"not a Tidemill profile of format {FORMAT}")
        try:
            columns = {name: _column_from_json(c) for name, c in value["columns"].items()}
            return cls(rows=int(value["rows"]), columns=columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DriftError(f"a damaged Tidemill profile: {type(error).__name__}: {error}") from None

    def write(self, path: Path) -> None:
        """Write the profile as a JSON file."""
        path.write_text(json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Read a profile from a JSON file.

        Raises:
            DriftError: the file cannot be read or holds no profile.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DriftError(f"{path} cannot be read as a profile: {error}") from None
        try:
            return cls.from_json(value)
        except DriftError as error:
            raise DriftError(f"{path}: {error}") from None


def profile(frame: pl.DataFrame) -> Profile:
    """The profile of all columns of a reference."""
    return Profile(rows=frame.height, columns={s.name: profile_column(s) for s in frame.iter_columns()})


def profile_column(values: pl.Series) -> ColumnProfile:
    """The profile of one column."""
    dtype, rows = str(values.dtype), len(values)
    match kind_of(values):
        case "numeric":
            numbers = as_numbers(values)
            edges = _edges(numbers)
            shares = tuple(n / rows for n in count_numbers(numbers, edges)) if rows else ()
            nulls = 1 - len(numbers) / rows if rows else 0.0
            return ColumnProfile(kind="numeric", dtype=dtype, nulls=nulls, edges=edges, shares=shares)
        case "categorical":
            counts = count_categories(values)
            known = sum(counts.values())
            kept = dict(list(counts.items())[:CATEGORIES])
            return ColumnProfile(
                kind="categorical",
                dtype=dtype,
                nulls=1 - known / rows if rows else 0.0,
                categories=tuple(kept),
                shares=tuple(n / rows for n in kept.values()),
                rest=(known - sum(kept.values())) / rows if rows else 0.0,
                distinct=len(counts),
            )
        case _:
            return ColumnProfile(kind="other", dtype=dtype, nulls=values.null_count() / rows if rows else 0.0)


def kind_of(values: pl.Series) -> Kind:
    """How a column is compared. Times are of the kind ``other``: they move with the window by nature."""
    import polars as pl

    dtype = values.dtype
    if dtype.is_numeric():
        return "numeric"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null):
        return "categorical"
    return "other"


def as_numbers(values: pl.Series) -> pl.Series:
    """The values of a numeric column as 64-bit floats, without nulls and NaN, with infinities."""
    import polars as pl

    return values.cast(pl.Float64).fill_nan(None).drop_nulls()


def count_numbers(numbers: pl.Series, edges: tuple[float, ...]) -> list[int]:
    """How many of the numbers fall into each of the ``len(edges) + 1`` bins, closed on the right."""
    import numpy as np

    found = np.searchsorted(np.asarray(edges, dtype=np.float64), numbers.to_numpy(), side="left")
    return [int(n) for n in np.bincount(found, minlength=len(edges) + 1)]


def count_categories(values: pl.Series) -> dict[str, int]:
    """Category → count, without nulls; the most frequent first, equally frequent ones by name."""
    import polars as pl

    if values.dtype == pl.Null:
        return {}
    text = values.cast(pl.String).drop_nulls().str.slice(0, CATEGORY_CHARS).alias("category")
    counts = text.to_frame().group_by("category").len("n").sort(["n", "category"], descending=[True, False])
    return dict(counts.iter_rows())


def _edges(numbers: pl.Series) -> tuple[float, ...]:
    """The nine deciles of the finite numbers, each once: a value that holds several deciles is one edge."""
    finite = numbers.filter(numbers.is_finite()).sort()
    if finite.is_empty():
        return (0.0,) if len(numbers) else ()  # tells -inf from inf
    # "lower" takes values that are there: interpolation would invent some, and overflow at the extremes.
    deciles = {_value(finite.quantile(i / 10, "lower")) for i in range(1, 10)}
    low, high = _value(finite.min()), _value(finite.max())
    if low == high:  # a constant: what is smaller needs a bin of its own, as what is larger has
        return (math.nextafter(low, -math.inf), low)
    return tuple(sorted(deciles))


def _value(number: Any) -> float:
    return float(number) + 0.0  # no negative zero


def _column_from_json(value: dict[str, Any]) -> ColumnProfile:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    column = ColumnProfile(**plain)
    bins = len(column.edges) + 1 if column.kind == "numeric" else len(column.categories)
    if column.shares and len(column.shares) != bins:
        raise ValueError(f"{len(column.shares)} shares for {bins} bins")
    return column
