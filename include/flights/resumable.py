"""The same training in stages, each kept as a checkpoint: for machines that may be taken away at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.flights.train import CATEGORIES, NUMBERS, TARGET, untrained

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

STAGES = 5


def train(context: Any) -> Pipeline:
    """As ``include.flights.train``, a fifth of the trees at a time: what a checkpoint holds is not trained again."""
    import joblib
    import pandas as pd

    rows = pd.read_parquet(context.data.train, columns=[*CATEGORIES, *NUMBERS, TARGET])
    kept = context.checkpoint / "model.joblib"
    model, done = untrained(context), 0
    if kept.exists():
        model, done = joblib.load(kept)
        print(f"going on after stage {done} of {STAGES}")
    total = int(context.params.get("max_iter", 100))
    for stage in range(done + 1, STAGES + 1):
        model["trees"].set_params(warm_start=True, max_iter=max(1, total * stage // STAGES))
        model.fit(rows.drop(columns=TARGET), rows[TARGET])
        part = kept.with_suffix(".part")
        joblib.dump((model, stage), part)
        part.replace(kept)
    return model
