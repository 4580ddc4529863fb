"""What a step computes over rows: files in, files and JSON out, so that it can be done here or in a container.

A step decides before (which model, which window) and records afterwards; between the two its function ``compute`` is
given a :class:`Computation` and nothing else: no ledger, no MLflow, no connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tidemill.spec.models import Spec
from tidemill.steps.context import StepError

if TYPE_CHECKING:
    from tidemill.tools.predictor import Predictor

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


class Models(Protocol):
    """Where versions of a model come from: MLflow, or folders."""

    def load(self, model: str, version: str) -> Predictor:
        """The model of a version. Raises StepError: it is not there, or does not load."""

    def download(self, model: str, version: str, artifact_path: str) -> Path:
        """An artifact of the run that made a version. Raises StepError: there is none."""


@dataclass(frozen=True)
class ModelFolders:
    """The port ``Models`` over folders: ``models/VERSION`` of MLflow's form, ``artifacts/VERSION/…``.

    ``missing``: why a version's model (by the version) or an artifact (``VERSION/…``) is not there.
    """

    models: Path
    artifacts: Path
    root: Path
    missing: Mapping[str, str]

    def load(self, model: str, version: str) -> Predictor:
        """See ``Models``."""
        from tidemill.tools import packaging
        from tidemill.tools.mlflow import called

        if version in self.missing:
            raise StepError(self.missing[version])
        return packaging.load(self.models / version, name=called(model, version), root=self.root)

    def download(self, model: str, version: str, artifact_path: str) -> Path:
        """See ``Models``."""
        name = f"{version}/{artifact_path}"
        if name in self.missing:
            raise StepError(self.missing[name])
        return self.artifacts / name


def model_of(given: Computation, name: str, *, called: str) -> Predictor:
    """The model in the MLflow folder that is the input ``name``; ``called`` is what messages call it.

    Raises:
        StepError: it cannot be loaded.
    """
    from tidemill.tools import packaging

    if name not in given.inputs:
        raise StepError(f"{called} is not there")
    return packaging.load(given.inputs[name], name=called, root=given.root)
