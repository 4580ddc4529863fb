"""Distances from sketches beside those of scipy on the raw rows.

    python benchmarks/_drift_exact.py REFERENCE CURRENT SKETCH

The pairs of columns are those of tests/drift/cases.py, in double and single precision, and those of the two files.
Prints one JSON object: how many, the largest deviations, and what is beyond its bound.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tests.drift.cases import NUMBERS
from tidemill.drift.distances import EPSILON, Distances, distances
from tidemill.drift.sketch import CategoricalSketch, Sketch
from tidemill.drift.summarise import summarise, summarise_table

Values = NDArray[np.floating[Any]]
NARROW = ("huge numbers", "tiny numbers", "denormal numbers")
BOUNDS = {"ks": 0.005, "js": 0.01, "psi": 0.01, "wasserstein": 1.0}


def numbers(reference: Values, current: Values) -> dict[str, float | None]:
    """The distances of two samples of finite values, computed from them alone; the share of nulls is that of NaN."""
    there, now = (values[~np.isnan(values)].astype(np.float64) for values in (reference, current))
    ordered = np.sort(there)
    edges = np.unique([ordered[(len(ordered) - 1) * i // 10] for i in range(1, 10)])
    if ordered[0] == ordered[-1]:
        edges = np.array([np.nextafter(edges[0], -np.inf), edges[0]])
    shares = []
    for values, rows in ((there, len(reference)), (now, len(current))):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        shares.append(np.append(counts, rows - len(values)) / rows)
    q, p = shares
    low_p, low_q = np.maximum(p, EPSILON), np.maximum(q, EPSILON)
    deviation = there.std()
    return {
        "ks": float(stats.ks_2samp(there, now).statistic),
        "js": float(jensenshannon(p, q, base=2)),
        "psi": float(np.sum((low_p - low_q) * np.log(low_p / low_q))),
        "wasserstein": float(stats.wasserstein_distance(there, now) / deviation) if deviation > 0 else None,
    }


def strings(reference: pa.ChunkedArray, current: pa.ChunkedArray) -> dict[str, float | None]:
    """The distances of two samples of categories."""
    tallies = [
        {str(pair["values"]): pair["counts"] for pair in c.value_counts().to_pylist()} for c in (reference, current)
    ]
    names = sorted({*tallies[0], *tallies[1]})
    q, p = (np.array([tally.get(name, 0) for name in names]) / sum(tally.values()) for tally in tallies)
    low_p, low_q = np.maximum(p, EPSILON), np.maximum(q, EPSILON)
    return {"js": float(jensenshannon(p, q, base=2)), "psi": float(np.sum((low_p - low_q) * np.log(low_p / low_q)))}


def main() -> None:
    """Compare, and print."""
    worst, missed, count = dict.fromkeys(BOUNDS, 0.0), [], 0

    def compare(name: str, found: Distances, direct: dict[str, float | None]) -> None:
        nonlocal count
        count += 1
        for distance, expected in direct.items():
            value = getattr(found, distance)
            if value is None or expected is None:
                off = 0.0 if value is expected else float("inf")
            elif distance == "wasserstein":
                off = abs(value - expected) / max(0.02, 0.05 * expected)
            else:
                off = abs(value - expected)
            worst[distance] = max(worst[distance], off)
            if off > BOUNDS[distance]:
                missed.append(f"{name}: {distance} {value} instead of {expected}")

    for name, pair in NUMBERS.items():
        for dtype in (np.float64, np.float32):
            if dtype is np.float32 and name.endswith(NARROW):
                continue
            before, now = (values.astype(dtype) for values in pair)
            reference = summarise_table(pa.table({"x": before}))
            current = summarise_table(pa.table({"x": now}), reference=reference)
            compare(
                f"{name}, {dtype.__name__}",
                distances(reference.columns["x"], current.columns["x"]),
                numbers(before, now),
            )
    before_path, now_path, sketch = sys.argv[1:]
    stored = Sketch.read(sketch)
    current = summarise(now_path, reference=stored)
    for name, column in stored.columns.items():
        both = [pq.read_table(path, columns=[name]).column(0) for path in (before_path, now_path)]
        found = distances(column, current.columns[name])
        if isinstance(column, CategoricalSketch):
            compare(f"1M rows, {name}", found, strings(*both))
        else:
            compare(f"1M rows, {name}", found, numbers(*(values.to_numpy() for values in both)))
    print(json.dumps({"cases": count, "worst": worst, "missed": missed}))


if __name__ == "__main__":
    main()
