"""What a step computes over rows: files in, files and JSON out, so that it can be done here or in a container.

A step decides before (which model, which window) and records afterwards; between the two its function ``compute`` is
given a :class:`Computation` and nothing else: no ledger, no MLflow, no connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tidemill.spec.models import Spec
from tidemill.steps.context import StepError

STEPS: Final = ("validate", "evaluate", "monitor", "score")
"""The steps whose modules have such a function."""


@dataclass(frozen=True)
class Computation:
    """What a step's ``compute`` is given.

    ``inputs`` are files and folders by name; ``facts`` what the task has decided, as JSON; ``output`` is a folder for
    files. ``root`` is where a model finds the project's own modules. ``keep`` is what the inputs need to be there.
    """

    spec: Spec
    root: Path
    inputs: Mapping[str, Path]
    facts: Mapping[str, Any]
    output: Path
    log: logging.Logger
    keep: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Computed:
    """What came of it: the facts that it was given, what ``compute`` returned, and the folder of files."""

    facts: Mapping[str, Any]
    value: Mapping[str, Any]
    output: Path


Compute = Callable[[Computation], Mapping[str, Any]]


def model_of(given: Computation, name: str, *, called: str) -> Any:
    """The model in the MLflow folder that is the input ``name``; ``called`` is what messages call it.

    Raises:
        StepError: it cannot be loaded.
    """
    from tidemill.tools import packaging

    if name not in given.inputs:
        raise StepError(f"{called} is not there")
    return packaging.load(given.inputs[name], name=called, root=given.root)
