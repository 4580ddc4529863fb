"""How often the drift verdict is wrong without a change, and how often it sees a small one: by simulation.

Each replication draws a reference and a current table of the same distributions, summarises both as a monitor does,
and judges them; then once more with a small change in two of the columns.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ROWS = 10_000
NUMERIC = 20
CATEGORIES = (8, 12, 30, 100, 1000)
"""The categorical columns' numbers of categories."""
SHIFT = 0.1
"""Standard deviations by which the first numeric column is shifted."""
POINTS = 0.05
"""By how much the share of one category of the first categorical column grows, at the cost of another."""


@dataclass(frozen=True)
class Calibration:
    """Counts of replications.

    ``alarms``: dataset alarms without a change, by the default rules. ``strict_alarms``: by the strictest ones, where
    a single column is enough and every distance above chance counts. ``significant``: any column was called changed
    without a change. ``seen_shift``, ``seen_category``: the changed columns were called changed; ``drifted_shift``:
    the shifted one was called drifted.
    """

    replications: int
    alarms: int
    strict_alarms: int
    significant: int
    seen_shift: int
    seen_category: int
    drifted_shift: int

    def share(self, name: str) -> float:
        """The share of the replications that a count is."""
        return float(getattr(self, name)) / self.replications


def calibrate(
    replications: int = 1000, rows: int = ROWS, seed: int = 20261123, progress: Callable[[int], None] | None = None
) -> Calibration:
    """Draw, summarise and judge so many times; the same ``seed`` gives the same counts."""
    import numpy as np

    from tidemill.drift.decide import Rules, decide
    from tidemill.drift.summarise import summarise_table

    strictest = Rules(at_least=1e-12, categorical_at_least=1e-12, share=0)
    counts: Counter[str] = Counter()
    for i in range(replications):
        random = np.random.default_rng([seed, i])
        reference = summarise_table(_table(random, rows), threads=1)
        table = _table(random, rows)
        current = summarise_table(table, reference=reference, threads=1)
        verdict = decide(reference, current)
        counts["alarms"] += verdict.drifted
        counts["strict_alarms"] += decide(reference, current, strictest).drifted
        counts["significant"] += any(c.significant for c in verdict.columns)
        other = summarise_table(_changed(random, table), reference=reference, threads=1)
        changed = replace(current, columns={**current.columns, **other.columns})
        by_name = {c.name: c for c in decide(reference, changed).columns}
        counts["seen_shift"] += by_name["number 0"].significant
        counts["drifted_shift"] += by_name["number 0"].drifted
        counts["seen_category"] += by_name["category 0"].significant
        if progress is not None:
            progress(i + 1)
    names = ("alarms", "strict_alarms", "significant", "seen_shift", "seen_category", "drifted_shift")
    return Calibration(replications, **{name: counts[name] for name in names})


def _shares(count: int) -> np.ndarray[Any, Any]:
    """Few common categories and many rare ones, as in real data."""
    import numpy as np

    weights: np.ndarray[Any, Any] = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


def _table(random: np.random.Generator, rows: int) -> pa.Table:
    """Normal, skewed, whole and heavy-tailed numbers, some with nulls; and categories."""
    import numpy as np
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for i in range(NUMERIC):
        values = random.normal(size=rows)
        match i % 5:
            case 1:
                values = np.exp(values)
            case 2:
                values = np.round(3 * values)
            case 3:
                values = values / np.abs(random.normal(size=rows))
        missing = random.uniform(size=rows) < 0.02 if i % 5 == 4 else None
        columns[f"number {i}"] = pa.array(values, mask=missing)
    for i, count in enumerate(CATEGORIES):
        columns[f"category {i}"] = _strings(random.choice(count, size=rows, p=_shares(count)), count)
    return pa.table(columns)


def _strings(codes: np.ndarray[Any, Any], count: int) -> pa.DictionaryArray:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([f"value {i}" for i in range(count)]))


def _changed(random: np.random.Generator, table: pa.Table) -> pa.Table:
    """The first numeric column, shifted, and the first categorical one, drawn with one share changed."""
    import pyarrow as pa

    count, shares = CATEGORIES[0], _shares(CATEGORIES[0])
    shares[0] -= POINTS
    shares[1] += POINTS
    drawn = random.choice(count, size=table.num_rows, p=shares)
    shifted = pa.array(table.column("number 0").to_numpy() + SHIFT)
    return pa.table({"number 0": shifted, "category 0": _strings(drawn, count)})


def main() -> None:
    """Print the shares of a run; the first argument is the number of replications."""
    found = calibrate(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    for name in ("alarms", "strict_alarms", "significant", "seen_shift", "seen_category", "drifted_shift"):
        print(f"{name:14} {found.share(name):7.1%} of {found.replications:,}")


if __name__ == "__main__":
    main()
