"""The two files between a job's caller and the job: ``job.json`` goes in, ``result.json`` comes out.

Exit codes tell the caller where to look: 0 the result names a model, 10 the user's code failed, 20 the system
did. The result holds the same, in words.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EXIT_OK = 0
EXIT_USER = 10
EXIT_SYSTEM = 20
_FORMAT = 1


class BadFile(Exception):
    """A job or result file is missing or not what it should be."""


@dataclass(frozen=True)
class JobFile:
    """A job as plain values; paths are absolute. ``memory`` is in bytes, ``timeout`` in seconds.

    ``cpus`` are the processors to stay on; ``parent`` is the process whose death ends the job; ``stream`` has every
    metric printed as it is logged.
    """

    code: str
    root: str
    train: str
    holdout: str
    output: str
    checkpoint: str
    result: str
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    memory: int | None = None
    timeout: float | None = None
    cpus: list[int] | None = None
    parent: int | None = None
    stream: bool = False

    @classmethod
    def read(cls, path: Path) -> JobFile:
        """Read a job file.

        Raises:
            BadFile: it is missing, not JSON, or its fields are not a job's.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("tidemill_job", None) != _FORMAT:
                raise BadFile(f"{path}: not a job of format {_FORMAT}")
            return cls(**value)
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise BadFile(f"{path}: {e}") from None

    def write(self, path: Path) -> None:
        """Write the job to ``path``, whole or not at all."""
        write_json(path, {"tidemill_job": _FORMAT, **asdict(self)})


@dataclass(frozen=True)
class Point:
    """A logged metric: its value (``None``: not finite) at a step, at a time in milliseconds since 1970."""

    name: str
    value: float | None
    step: int
    time: int


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    ``user`` tells a mistake of the user's code, parameters or limits from a fault of the system (a kill from
    outside, a full disk). ``traceback`` holds the user's own frames only, and may be empty.
    """

    type: str
    message: str
    user: bool
    traceback: str = ""


@dataclass(frozen=True)
class Result:
    """How a job ended. ``model`` is a path relative to the output folder, ``format`` one of
    ``pickle`` (a pickled object) and ``mlflow`` (a folder with an ``MLmodel``); both ``None`` on a failure.
    """

    seconds: float
    model: str | None = None
    format: str | None = None
    metrics: list[Point] = field(default_factory=list)
    failure: Failure | None = None

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read a result file.

        Raises:
            BadFile: it is missing, not JSON, or its fields are not a result's.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("tidemill_result", None) != _FORMAT:
                raise BadFile(f"{path}: not a result of format {_FORMAT}")
            failure = value.pop("failure")
            points = [Point(*p) for p in value.pop("metrics")]
            return cls(**value, metrics=points, failure=Failure(**failure) if failure else None)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as e:
            raise BadFile(f"{path}: {e}") from None

    def write(self, path: Path) -> None:
        """Write the result to ``path``, whole or not at all."""
        value = {
            "tidemill_result": _FORMAT,
            "seconds": self.seconds,
            "model": self.model,
            "format": self.format,
            "metrics": [[p.name, p.value, p.step, p.time] for p in self.metrics],
            "failure": asdict(self.failure) if self.failure else None,
        }
        write_json(path, value)

    def last(self) -> dict[str, float]:
        """The last value of each metric; NaN where it was not finite."""
        return {p.name: math.nan if p.value is None else p.value for p in self.metrics}


def result_of(output: Path) -> Path:
    """Where the result of the job that fills ``output`` is: beside it."""
    return output.with_name(f"{output.name}.result.json")


def write_json(path: Path, value: Any) -> None:
    """Write JSON to ``path`` by way of a temporary file, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as f:
            json.dump(value, f, allow_nan=False)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
