"""The model of the demonstration: gradient-boosted trees on the timetable and the weather at departure.

An ordinary training function, without a line that knows where it runs: see the training contract in
``docs/``. The fitted object is plain scikit-learn, so that loading it later needs nothing of this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TARGET = "late"
CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = [
    "distance",
    "departs_at",
    "weekday",
    "dew_point",
    "humidity",
    "wind_speed",
    "precipitation",
    "pressure",
    "visibility",
]
LOG_EVERY = 10  # iterations between two points of the curve


def train(context: Any) -> Pipeline:
    """Fit on ``context.data.train`` and return a classifier of raw rows.

    ``context.params`` are arguments of scikit-learn's ``HistGradientBoostingClassifier``. The returned
    pipeline picks its columns by name out of a frame that may hold others, and takes a carrier, airport or
    reading that it never saw as missing.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    rows = pd.read_parquet(context.data.train, columns=[*CATEGORIES, *NUMBERS, TARGET])
    model = untrained(context)
    model.fit(rows.drop(columns=TARGET), rows[TARGET])

    trees = model["trees"]
    for step in range(0, len(trees.train_score_), LOG_EVERY):
        context.log_metric("train_log_loss", -float(trees.train_score_[step]), step=step)
    # Beside the AUC of the holdout this shows how far the model knows its own months by heart.
    fitted = model.predict_proba(rows)[:, 1]
    context.log_metric("train_roc_auc", float(roc_auc_score(rows[TARGET], fitted)))
    return model


def untrained(context: Any) -> Pipeline:
    """The model before it has seen a row."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    unseen_is_missing = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=float("nan"), encoded_missing_value=float("nan")
    )
    # The columns' order is fixed here: the classifier knows its categories by position.
    columns = ColumnTransformer(
        [("categories", unseen_is_missing, CATEGORIES), ("numbers", "passthrough", NUMBERS)],
        verbose_feature_names_out=False,
    )
    # "Early stopping" on the training rows with this patience never stops: it only keeps the loss of each
    # iteration. Real early stopping would need a validation set from later days; a random one shares the
    # weather of the training rows and flatters the model.
    trees = HistGradientBoostingClassifier(
        **{
            "categorical_features": list(range(len(CATEGORIES))),
            "random_state": context.seed,
            "early_stopping": True,
            "scoring": "loss",
            "validation_fraction": None,
            "tol": 0.0,
            "n_iter_no_change": 10_000,
            **context.params,
        }
    )
    return Pipeline([("columns", columns), ("trees", trees)])
