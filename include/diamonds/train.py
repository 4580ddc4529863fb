"""The price of a diamond from its measures: gradient-boosted trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TARGET = "price"
CATEGORIES = ["cut", "color", "clarity"]
NUMBERS = ["carat", "depth", "table", "x", "y", "z"]


def train(context: Any) -> Pipeline:
    """Fit on ``context.data.train`` and return a regressor of raw rows.

    ``context.params`` are arguments of scikit-learn's ``HistGradientBoostingRegressor``.
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    rows = pd.read_parquet(context.data.train, columns=[*CATEGORIES, *NUMBERS, TARGET])
    unseen_is_missing = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=float("nan"), encoded_missing_value=float("nan")
    )
    columns = ColumnTransformer(
        [("categories", unseen_is_missing, CATEGORIES), ("numbers", "passthrough", NUMBERS)],
        verbose_feature_names_out=False,
    )
    trees = HistGradientBoostingRegressor(
        **{"categorical_features": list(range(len(CATEGORIES))), "random_state": context.seed, **context.params}
    )
    model = Pipeline([("columns", columns), ("trees", trees)])
    return model.fit(rows.drop(columns=TARGET), rows[TARGET])
