"""Build ``stones.parquet``, the quiet data of the demonstration, from the diamonds in the package plotnine.

    python -m include.diamonds.prepare

One row a diamond: 53,940 round cut stones with their measures and their price in US dollars.

Why these
    A monitor has to show that it keeps quiet where nothing happens, on real columns: skewed, heavy-tailed, in
    lumps at round carats, and strongly dependent on each other (carat, x, y and z measure the same stone).
Time
    The stones have none. They are put in one random order, with a fixed seed, and spread evenly over 2013 and 2014:
    74 a day. So what a stone is does not depend on when it comes, and every alarm about it is a false one. That is
    the only thing here that was made up.
Left as they are
    20 stones with a length of 0, and a few of 30 and 58 mm: faults of measurement, which real data have.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from include.prepared import Prepared, data_file

if TYPE_CHECKING:
    import polars as pl

PACKAGE = "plotnine"
OUTPUT = Path(__file__).with_name("stones.parquet")
SEED = 2013
FIRST, LAST = datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)


def stones() -> pl.DataFrame:
    """The table in time order: key ``stone``, time ``listed_at``, target ``price``, nine features."""
    import polars as pl

    raw = pl.read_csv(data_file(PACKAGE, "diamonds.csv"), infer_schema_length=None)
    shuffled = raw.with_row_index("stone").sample(fraction=1.0, shuffle=True, seed=SEED)
    step = (LAST - FIRST) / shuffled.height
    return shuffled.with_columns(
        listed_at=pl.lit(FIRST) + pl.int_range(pl.len()) * pl.lit(step),
        price=pl.col("price").cast(pl.Float64),
        table=pl.col("table").cast(pl.Float64),
    ).select("stone", "listed_at", "price", "carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z")


PREPARED = Prepared(OUTPUT, PACKAGE, Path(__file__), stones)

if __name__ == "__main__":
    raise SystemExit(PREPARED.main("diamonds"))
