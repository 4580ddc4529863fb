"""The rows of benchmarks/drift.py, made from a seed.

    python benchmarks/_drift_data.py FOLDER PARTS ROWS SEED           PARTS files of ROWS rows and 25 columns
    python benchmarks/_drift_data.py FOLDER PARTS ROWS SEED COLUMNS   …, of so many columns of 32-bit floats

25 columns are 20 of 64-bit floats (normal, log-normal, exponential, uniform, with a fortieth of nulls in some) and 5 of
strings with 8, 20, 50, 200 and 1,000 categories.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CATEGORIES = (8, 20, 50, 200, 1000)


def rows(seed: int, count: int, *, shift: float = 0.0) -> pa.Table:
    """A table of 25 columns; ``shift`` moves the first one."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {}
    for i in range(20):
        match i % 4:
            case 0:
                values = rng.normal(i, 1 + i, count) + (shift * (1 + i) if i == 0 else 0)
            case 1:
                values = rng.lognormal(0, 1, count)
            case 2:
                values = rng.exponential(1 + i, count)
            case _:
                values = rng.random(count)
        missing = rng.random(count) < 0.025 if i % 5 == 4 else None
        columns[f"number_{i}"] = pa.array(values, mask=missing)
    for i, kinds in enumerate(CATEGORIES):
        names = pa.array([f"category {j:04d}" for j in range(kinds)])
        drawn = rng.integers(0, kinds, count) * rng.integers(1, 3, count) % kinds  # some twice as frequent
        columns[f"category_{i}"] = pa.DictionaryArray.from_arrays(drawn.astype(np.int32), names).cast(pa.string())
    return pa.table(columns)


def wide(seed: int, count: int, columns: int) -> pa.Table:
    """A table of normal 32-bit floats."""
    rng = np.random.default_rng(seed)
    return pa.table({f"number_{i}": rng.standard_normal(count, dtype=np.float32) for i in range(columns)})


def write(folder: Path, parts: int, count: int, seed: int, columns: int | None = None) -> int:
    """Write the parts as Parquet, compressed with Zstandard; the bytes written."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for part in range(parts):
        made = rows(seed + part, count) if columns is None else wide(seed + part, count, columns)
        path = folder / f"part-{part:04d}.parquet"
        pq.write_table(made, path, compression="zstd", use_dictionary=columns is None)
        size += path.stat().st_size
    return size


if __name__ == "__main__":
    target, number, length, start, *others = sys.argv[1:]
    print(write(Path(target), int(number), int(length), int(start), int(others[0]) if others else None))
