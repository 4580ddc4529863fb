"""Testing help for those who write specs: what a pipeline is, one step of it, its training, a run on a sample.

>>> from tidemill.testing import load
>>> pipeline = load("dags/flight_delays.yaml")
>>> pipeline.dag("training").assert_order("data", "train", "promote")

Importing this costs almost nothing; each thing imports what it needs when it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.testing.dag import Dag, Task
    from tidemill.testing.pipeline import Pipeline
    from tidemill.testing.running import Run, TaskRun
    from tidemill.testing.step import StepResult
    from tidemill.testing.training import Trained

__all__ = ["Dag", "Pipeline", "Run", "StepResult", "Task", "TaskRun", "Trained", "load"]

_HOMES = {
    "Dag": "dag",
    "Task": "dag",
    "Pipeline": "pipeline",
    "Run": "running",
    "TaskRun": "running",
    "StepResult": "step",
    "Trained": "training",
}


def load(path: str | Path, *, environment: str | None = None, row: str | None = None) -> Pipeline:
    """The pipeline of a spec file; its project is found as the command line finds it.

    ``environment``: the environment whose overlays are used. ``row``: of a file with a matrix, this row.

    Raises:
        AssertionError: the spec has mistakes; the text is what ``tidemill validate`` prints. Or there is no such
            file, row or environment.
    """
    __tracebackhide__ = True
    from tidemill.testing.pipeline import load as load_it

    return load_it(Path(path), environment, row)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
