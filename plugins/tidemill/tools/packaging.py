"""A trained model as an MLflow model folder, and back."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.steps.context import StepError
from tidemill.tools.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

_LOADER = "tidemill.tools.pickled"
_ALWAYS = ("mlflow", "cloudpickle", "numpy", "pandas", "scikit-learn")
_EXAMPLE_ROWS = 5


def save(source: Path, folder: Path, *, header: Any, sample: pd.DataFrame, root: Path, classification: bool) -> None:
    """Write the MLflow model of a trained model into ``folder``, which must not exist.

    scikit-learn models get their own flavour; any other object becomes a Python function that unpickles it.
    The requirements are told to MLflow: finding them out by itself takes it a process and many seconds.

    Args:
        source: a pickled object.
        folder: where the MLflow model goes.
        header: MLflow's ``Model``, which carries ids and metadata.
        sample: rows as the model is given them; the signature is theirs, the first five are the example.
        root: the project's root, for imports.
        classification: probabilities are what the model is asked for.

    Raises:
        StepError: the model cannot be loaded, or cannot predict on the sample.
    """
    import mlflow.pyfunc
    import mlflow.sklearn

    model, modules = _unpickle(source, root)
    predictor = Predictor(model)
    given = {
        "path": str(folder),
        "mlflow_model": header,
        "signature": _signature(predictor, sample, classification),
        "input_example": _example(sample),
        "pip_requirements": requirements(modules),
    }
    with _quietly():
        if _is_sklearn(model):
            proba = classification and hasattr(model, "predict_proba")
            # skops, MLflow's default, refuses any class or function of the user's own; and MLflow takes the
            # list of types to trust from the model itself, so it would be no safer.
            mlflow.sklearn.save_model(
                model,
                serialization_format="cloudpickle",
                pyfunc_predict_fn="predict_proba" if proba else "predict",
                **given,
            )
        else:
            mlflow.pyfunc.save_model(loader_module=_LOADER, data_path=str(source), **given)


def load(folder: Path, *, name: str, root: Path, keep: Any = None) -> Predictor:
    """The model in an MLflow model folder.

    Raises:
        StepError: it cannot be loaded.
    """
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import Model

    try:
        header = Model.load(str(folder))
        function = header.flavors.get("python_function", {})
        with _importable(root), _quietly():
            if function.get("loader_module") == _LOADER:
                from tidemill.tools.pickled import unpickle

                model, _ = unpickle(folder / str(function["data"]))
            elif "sklearn" in header.flavors:
                model = mlflow.sklearn.load_model(str(folder))
            else:
                model = mlflow.pyfunc.load_model(str(folder))
    except Exception as e:
        raise StepError(f"{name} could not be loaded: {type(e).__name__}: {e}") from e
    known: Mapping[str, Any] = header.metadata or {}
    inputs = header.signature.inputs if header.signature is not None else None
    names = inputs.input_names() if inputs is not None and not inputs.is_tensor_spec() else ()
    return Predictor(model, name=name, classes=known.get("classes"), keep=keep, inputs=[str(name) for name in names])


def requirements(modules: set[str]) -> list[str]:
    """Pinned requirements for what a model's pickle names, and for what it takes to load it."""
    names = dict.fromkeys(_ALWAYS)
    for module in sorted(modules - set(sys.stdlib_module_names) - {"sklearn"}):
        names |= dict.fromkeys(_distributions(module))
    return [f"{name}=={metadata.version(name)}" for name in names]


def _distributions(module: str) -> list[str]:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return [str(metadata.distribution(module).metadata["Name"])]
    return [name for name in metadata.packages_distributions().get(module, []) if name != "tidemill"]


def _unpickle(source: Path, root: Path) -> tuple[Any, set[str]]:
    from tidemill.tools.pickled import unpickle

    try:
        with _importable(root):
            return unpickle(source)
    except Exception as e:
        raise StepError(
            f"the model that the training left ({source.name}) cannot be loaded again: {type(e).__name__}: {e}"
        ) from e


def _signature(predictor: Predictor, sample: pd.DataFrame, classification: bool) -> Any:
    from mlflow.models import infer_signature

    function = getattr(predictor.model, "predict_proba", None) if classification else None
    with _quietly():
        try:
            given = (function or predictor.model.predict)(sample)
        except Exception as e:
            raise StepError(
                f"the model cannot predict on {len(sample)} rows of the holdout: {type(e).__name__}: {e}; it is "
                "given a pandas DataFrame of all columns but the target"
            ) from e
        return infer_signature(_naive(sample), given)


def _example(sample: pd.DataFrame) -> pd.DataFrame | None:
    """The first rows, if JSON can hold them as MLflow writes them: durations and decimals it cannot."""
    rows = _naive(sample.head(_EXAMPLE_ROWS))
    held = (rows[c].dtype.kind != "m" and not any(isinstance(v, Decimal) for v in rows[c]) for c in rows.columns)
    return rows if all(held) else None


def _naive(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their instants as UTC without a zone, the only ones that MLflow's signatures know."""
    import pandas as pd

    zoned = [c for c in rows.columns if isinstance(rows[c].dtype, pd.DatetimeTZDtype)]
    return rows.assign(**{c: rows[c].dt.tz_convert("UTC").dt.tz_localize(None) for c in zoned})


def _is_sklearn(model: Any) -> bool:
    from sklearn.base import BaseEstimator

    return isinstance(model, BaseEstimator) and hasattr(model, "predict")


@contextlib.contextmanager
def _importable(root: Path) -> Iterator[None]:
    """The project's root on ``sys.path``: a pickle may name the project's own modules."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(root))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """MLflow's advice to use skops, and its hint on integer columns, do not help who reads a task's log."""
    import logging

    log = logging.getLogger("mlflow")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
            warnings.filterwarnings("ignore", message=".*An input example was not provided")
            yield
    finally:
        log.setLevel(level)
