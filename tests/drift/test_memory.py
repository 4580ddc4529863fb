"""Memory does not grow with the rows: neither with those of a row group, nor with the number of files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill.drift.summarise import summarise

BOUND = 16 << 20
"""Bytes that Arrow may hold at a time: a batch of a thread, and what it is made from."""
MEASURE = """
import json, sys
from datetime import datetime, UTC
import pyarrow as pa
from tidemill.drift.sketch import Sketch
from tidemill.drift.sources import open_source
from tidemill.drift.summarise import summarise

reference, current, *end = sys.argv[1:]
where = ("t", datetime(2024, 1, 1, tzinfo=UTC), datetime.fromisoformat(end[0])) if end else None
found = summarise(open_source(current, where=where), reference=Sketch.read(reference), threads=1)
print(json.dumps([found.rows, pa.default_memory_pool().max_memory()]))
"""
"""In a process of its own, since the most that a pool ever held is never forgotten."""
HALF = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=2_000_000)


def _table(rows: int) -> pa.Table:
    values = np.random.default_rng(rows).normal(size=rows)
    return pa.table({"x": values, "t": pa.array(np.arange(rows) + 1_704_067_200, pa.timestamp("s"))})


def _one_row_group(folder: Path) -> int:
    rows = 4_000_000  # 32 MB of a column
    pq.write_table(_table(rows), folder / "0.parquet", row_group_size=rows)
    return rows


def _many_files(folder: Path) -> int:
    rows, files = 400_000, 30  # 96 MB of a column
    pq.write_table(_table(rows), folder / "0.parquet", row_group_size=rows)
    for number in range(1, files):
        (folder / f"{number}.parquet").hardlink_to(folder / "0.parquet")
    return rows * files


@pytest.mark.parametrize(
    ("write", "end"),
    [(_one_row_group, None), (_one_row_group, HALF), (_many_files, None)],
    ids=["group", "window", "files"],
)
def test_memory_is_bounded(tmp_path: Path, write: Callable[[Path], int], end: datetime | None) -> None:
    (tmp_path / "rows").mkdir()
    written = write(tmp_path / "rows")
    sketch = tmp_path / "reference.sketch"
    pq.write_table(_table(10_000), tmp_path / "reference.parquet")
    summarise(tmp_path / "reference.parquet").write(sketch)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sketch, tmp_path / "rows", *([end.isoformat()] if end else [])],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, most = json.loads(done.stdout)
    assert rows == (2_000_000 if end else written)
    assert most < BOUND
