"""One call of the user's function: import, call, keep the model. Runs in a process of its own."""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from .context import Context, seed_everything
from .faults import UserFault, describe, load_function
from .files import EXIT_OK, EXIT_SYSTEM, EXIT_USER, Failure, JobFile, Result

_PICKLES = (".pkl", ".pickle", ".joblib")


def work(job: JobFile) -> int:
    """Run the job and write its result.

    Returns:
        The exit code: ``EXIT_OK``, ``EXIT_USER`` or ``EXIT_SYSTEM``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    started = time.monotonic()
    context = Context(job)
    model, kind, failure = _attempt(job, context)
    seconds = round(time.monotonic() - started, 3)
    try:
        Result(seconds, model, kind, context.points(), failure).write(Path(job.result))
    except OSError as e:
        print(f"tidemill: the result could not be written: {e}", file=sys.stderr)
        return EXIT_SYSTEM
    if failure is None:
        return EXIT_OK
    return EXIT_USER if failure.user else EXIT_SYSTEM


def _attempt(job: JobFile, context: Context) -> tuple[str | None, str | None, Failure | None]:
    root = Path(job.root)
    doing = f"train.code {job.code}"
    try:
        seed_everything(job.seed)
        sys.path.insert(0, job.root)
        function = load_function(job.code, root)
        try:
            returned = function(context)
        except BaseException as e:  # noqa: BLE001 - the user's code may raise anything
            return None, None, describe(e, root, doing)
        if returned is not None:
            return _keep(returned, context.output, root, doing), "pickle", None
        path, kind = _find(context.output, doing)
        return path, kind, None
    except UserFault as e:
        return None, None, e.failure
    except Exception as e:  # noqa: BLE001 - whatever else fails must still leave a result
        return None, None, Failure(type(e).__name__, f"the training process failed: {e}", user=False)


def _keep(model: Any, output: Path, root: Path, doing: str) -> str:
    """Pickle the returned model into the output folder."""
    name = "model.pkl" if not (output / "model.pkl").exists() else "returned-model.pkl"
    temporary = output / f".{name}"
    try:
        with open(temporary, "wb") as f:
            _dump(model, f, root)
        os.replace(temporary, output / name)
    except OSError:
        raise
    except Exception as e:  # noqa: BLE001 - __reduce__ of any class may raise anything
        raise UserFault(
            "Unpicklable",
            f"{doing} returned a model ({type(model).__module__}.{type(model).__qualname__}) that cannot be "
            f"pickled: {type(e).__name__}: {e}; return one that can, or write it under context.output",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return name


def _dump(model: Any, f: Any, root: Path) -> None:
    """Pickle with the project's own code by value, where cloudpickle is there to do it.

    A plain pickle names the class ``include.flights.model.Mine``; loaded next to a later version of that file
    it would be another model than was trained, or none. The champion must stay what it was.
    """
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        pickle.dump(model, f, protocol=4)
        return
    inside = str(root.resolve()) + os.sep
    own = [m for m in list(sys.modules.values()) if _is_own(m, inside)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(model, protocol=4)
    except Exception as e:  # noqa: BLE001 - a module may hold globals of any kind, among them what does not pickle
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
        print(
            "tidemill: the project's own classes are not kept with the model, which later changes of their code will "
            f"change: {type(e).__name__}: {e}"
        )
        data = cloudpickle.dumps(model, protocol=4)
    f.write(data)


def _is_own(module: Any, inside: str) -> bool:
    """Whether a module is of the project: in its root, but not of a library or interpreter that is there too."""
    file = str(getattr(module, "__file__", None) or "")
    top = str(getattr(module, "__name__", "")).partition(".")[0]
    return (
        file.startswith(inside)
        and "site-packages" not in file
        and top not in {"__main__", "tidemill", *getattr(sys, "stdlib_module_names", ())}
    )


def _find(output: Path, doing: str) -> tuple[str, str]:
    """The model that the function wrote under the output folder, and its format."""
    folders = sorted(p.parent for p in [*output.glob("MLmodel"), *output.glob("*/MLmodel")])
    if len(folders) == 1:
        return os.path.relpath(folders[0], output), "mlflow"
    pickles = sorted(p for p in output.iterdir() if p.suffix in _PICKLES and p.is_file())
    if not folders and len(pickles) == 1:
        return pickles[0].name, "pickle"
    written = sorted(p.name for p in output.iterdir())
    if not written:
        raise UserFault(
            "NoModel",
            f"{doing} returned None and wrote nothing: return a fitted model, or write one under context.output",
        )
    found = ", ".join(written[:5]) + (", …" if len(written) > 5 else "")
    raise UserFault(
        "NoModel",
        f"{doing} returned None, and of what it wrote under context.output ({found}) not exactly one is a "
        "model: an MLflow model folder (with its MLmodel), or one file *.pkl, *.pickle or *.joblib",
    )
