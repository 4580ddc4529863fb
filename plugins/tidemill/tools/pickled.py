"""An MLflow Python model around any pickled object: MLflow loads this module and calls ``_load_pyfunc``."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Wrapped:
    """Probabilities where the object gives them, else its predictions."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """What MLflow's scoring calls."""
        predict = getattr(self.model, "predict_proba", None) or self.model.predict
        return predict(rows)


def unpickle(path: Path) -> tuple[Any, set[str]]:
    """The object in a pickle file, and the top-level modules that its pickle names.

    A pickle can run any code when it is read. What is read here is what the project's own training function
    returned, in the project's own store: whoever can change it can change the function as well.
    """
    with open(path, "rb") as f:
        reader = _Recorder(f)
        return reader.load(), reader.modules


def _load_pyfunc(path: str) -> Wrapped:
    return Wrapped(unpickle(Path(path))[0])


class _Recorder(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module.partition(".")[0])
        return super().find_class(module, name)
