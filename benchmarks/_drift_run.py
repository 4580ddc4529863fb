"""One measurement of benchmarks/drift.py, in a process of its own; prints one JSON object.

    python benchmarks/_drift_run.py against-arrow REFERENCE_SKETCH CURRENT ROUNDS
    python benchmarks/_drift_run.py window REFERENCE_SKETCH CURRENT
    python benchmarks/_drift_run.py reference SOURCE SKETCH
    python benchmarks/_drift_run.py merge SKETCHES COLUMNS

Memory is the most that the process ever had resident.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

Timed = tuple[float, float]


def timed(work: Callable[[], Any]) -> Timed:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def against_arrow(reference: str, current: str, rounds: int) -> dict[str, Any]:
    """All distances of a file from a stored sketch, and reading the same columns with Arrow, in turns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    threads = len(os.sched_getaffinity(0))
    pa.set_cpu_count(threads)

    def ours() -> None:
        judge(reference, current)

    def arrow() -> None:
        pq.read_table(current)

    ours(), arrow()
    found: dict[str, list[Timed]] = {"ours": [], "arrow": []}
    for _ in range(rounds):
        found["ours"].append(timed(ours))
        found["arrow"].append(timed(arrow))
    pairs = list(zip(found["ours"], found["arrow"], strict=True))
    return {
        "wall": statistics.median(o[0] for o in found["ours"]),
        "cpu": statistics.median(o[1] for o in found["ours"]),
        "arrow_wall": statistics.median(a[0] for a in found["arrow"]),
        "arrow_cpu": statistics.median(a[1] for a in found["arrow"]),
        "ratio_wall": statistics.median(o[0] / a[0] for o, a in pairs),
        "ratio_cpu": statistics.median(o[1] / a[1] for o, a in pairs),
        "threads": threads,
    }


def judge(reference: str, current: str) -> int:
    """Every distance of every column; how many there are."""
    from tidemill.drift.distances import distances
    from tidemill.drift.sketch import Sketch
    from tidemill.drift.summarise import summarise

    before = Sketch.read(reference)
    now = summarise(current, reference=before)
    found = [distances(column, now.columns[name]) for name, column in before.columns.items()]
    return sum(distance.psi is not None for distance in found)


def window(reference: str, current: str) -> dict[str, Any]:
    """Every distance of a file or folder from a stored sketch, once."""
    wall, cpu = timed(lambda: judge(reference, current))
    return {"wall": wall, "cpu": cpu}


def reference(source: str, sketch: str) -> dict[str, Any]:
    """The sketch of a reference."""
    from tidemill.drift.summarise import summarise

    wall, cpu = timed(lambda: summarise(source).write(sketch))
    return {"wall": wall, "cpu": cpu, "bytes": os.path.getsize(sketch)}


def merged(count: int, columns: int) -> dict[str, Any]:
    """Adding up sketches that came from elsewhere: from bytes, as a mapped task leaves them."""
    import numpy as np
    import pyarrow as pa

    from tidemill.drift.sketch import Sketch, merge
    from tidemill.drift.summarise import summarise_table

    rng = np.random.default_rng(0)
    names = np.array([f"c{i}" for i in range(50)])
    numeric = columns * 4 // 5

    def table(rows: int) -> pa.Table:
        made: dict[str, Any] = {f"x{i}": rng.normal(size=rows) for i in range(numeric)}
        return pa.table(made | {f"c{i}": names[rng.integers(0, 50, rows)] for i in range(columns - numeric)})

    before = summarise_table(table(20_000))
    stored = [summarise_table(table(1000), reference=before).to_bytes() for _ in range(20)]
    sketches = [Sketch.from_bytes(stored[i % 20]) for i in range(count)]
    rows = 0

    def work() -> None:
        nonlocal rows
        rows = merge(sketches).rows

    wall, cpu = min(timed(work) for _ in range(3))
    assert rows == 1000 * count
    return {"wall": wall, "cpu": cpu}


def main() -> None:
    """Measure what the command line asks for."""
    job, *arguments = sys.argv[1:]
    match job:
        case "against-arrow":
            found = against_arrow(arguments[0], arguments[1], int(arguments[2]))
        case "window":
            found = window(*arguments)
        case "reference":
            found = reference(*arguments)
        case "merge":
            found = merged(int(arguments[0]), int(arguments[1]))
        case _:
            raise SystemExit(f"no such measurement: {job}")
    found["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
