"""Numbers, truth values and times that are written as text, as CSV files have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NULLS = ("", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "NaN", "nan", "-nan", "-NaN")
"""What stands for a missing number."""
TRUE, FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
EXAMPLES = 3


def numbers(column: Any) -> tuple[NDArray[np.float64], int, list[str]]:
    """The numbers of an Arrow array of strings, how many are missing, and what is neither."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = pc.is_in(column, value_set=pa.array([*NULLS, None], type=column.type))
    there = column.filter(pc.invert(missing)) if missing.true_count else column
    nulls = len(column) - len(there)
    try:
        return np.asarray(there.cast(pa.float64())), nulls, []
    except pa.ArrowInvalid:
        import polars as pl

        series = pl.Series(pl.from_arrow(there))
        stripped = series.str.strip_chars()
        found = stripped.cast(pl.Float64, strict=False)
        strange = series.filter(found.is_null() & ~stripped.is_in(NULLS)).to_list()
        return found.drop_nulls().to_numpy(), nulls + len(there) - found.count() - len(strange), strange


def number_share(column: Any) -> float:
    """The share of an Arrow array's strings that are numbers, of those that are not missing; 0 without any."""
    values, _, strange = numbers(column)
    total = len(values) + len(strange)
    return len(values) / total if total else 0.0


def truths(column: Any) -> Any:
    """An Arrow array of strings as booleans; what is neither true nor false is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(column)
    true = pc.is_in(lower, value_set=pa.array(TRUE, type=column.type))
    false = pc.is_in(lower, value_set=pa.array(FALSE, type=column.type))
    return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))


def times(column: Any) -> tuple[Any, int]:
    """An Arrow array of strings in ISO 8601 as timestamps, in UTC where they have a zone; those that are none are
    left out, and their number returned. What is empty is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = pc.is_in(column, value_set=pa.array([*NULLS, None], type=column.type))
    column = pc.if_else(missing, pa.scalar(None, column.type), column)
    for dtype in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return column.cast(dtype), 0
        except pa.ArrowInvalid:
            continue
    import polars as pl

    series = pl.Series(pl.from_arrow(column))
    found = series.str.to_datetime(strict=False, time_unit="us", time_zone="UTC", format="%+")
    plain = series.str.to_datetime(strict=False, time_unit="us", format="%Y-%m-%d %H:%M:%S%.f")
    days = series.str.to_date(strict=False, format="%Y-%m-%d").cast(pl.Datetime("us"))
    found = found.fill_null(plain.dt.replace_time_zone("UTC")).fill_null(days.dt.replace_time_zone("UTC"))
    strange = series.is_not_null() & found.is_null()
    return found.filter(~strange).to_arrow(), int(strange.sum())
