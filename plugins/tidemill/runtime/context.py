"""What the user's function is given, and the seeding that surrounds it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import math
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .files import JobFile, Point

MAX_POINTS = 100_000
_NAME = re.compile(r"[\w./ :-]{1,250}")


@dataclass(frozen=True)
class Data:
    """The Parquet files of the data version: the rows to train on and the rows to be judged on."""

    train: Path
    holdout: Path


class Context:
    """The one argument of the user's function.

    Attributes:
        data: the paths ``data.train`` and ``data.holdout``, Parquet files.
        params: ``train.params`` of the spec, a dictionary.
        output: an empty folder; a model that is not returned is written here.
        checkpoint: a folder that survives attempts.
        seed: ``train.seed``; ``random``, NumPy and PyTorch are seeded with it already.
        rank, world_size: 0 and 1, unless the training is spread over several processes.
    """

    def __init__(self, job: JobFile) -> None:
        self.data = Data(Path(job.train), Path(job.holdout))
        self.params: dict[str, Any] = dict(job.params)
        self.output = Path(job.output)
        self.checkpoint = Path(job.checkpoint)
        self.seed = job.seed
        self.rank = job.rank
        self.world_size = job.world_size
        self._stream = job.stream
        self._points: list[Point] = []
        self._last: dict[str, Point] = {}
        self._steps: dict[str, int] = {}

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record a metric. Without a step, each call under one name is one step further.

        Of more than 100,000 values the later ones are dropped, but for the last of each name.

        Raises:
            ValueError: a name that the tracker would refuse, or a value that is not a number.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("/") or ".." in name:
            raise ValueError(f"log_metric: {name!r} is not a metric name (letters, digits, spaces, _ . / : -)")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"log_metric: the value of {name!r} is not a number: {value!r:.100}") from None
        at = self._steps.get(name, -1) + 1 if step is None else int(step)
        self._steps[name] = at
        point = Point(name, number if math.isfinite(number) else None, at, int(time.time() * 1000))
        if len(self._points) < MAX_POINTS:
            if self._stream:
                print(f"[tidemill] metric {name}={number!r} step={at}", flush=True)
            self._points.append(point)
            self._last.pop(name, None)
            return
        if len(self._points) == MAX_POINTS and not self._last:
            print(f"tidemill: more than {MAX_POINTS:,} metric values; of the further ones only the last is kept")
        self._last[name] = point

    def points(self) -> list[Point]:
        """What was logged, in order."""
        return [*self._points, *self._last.values()]


def seed_everything(seed: int) -> None:
    """Seed ``random`` now, and NumPy and PyTorch as soon as somebody imports them."""
    random.seed(seed)
    for name in _SEEDERS:
        if name in sys.modules:
            _SEEDERS[name](sys.modules[name], seed)
    sys.meta_path.insert(0, _SeedOnImport(seed))


# NumPy's and PyTorch's own imports cost a second and more, so nothing here imports them.
_SEEDERS = {
    "numpy": lambda module, seed: module.random.seed(seed),
    "torch": lambda module, seed: module.manual_seed(seed),
}


class _SeedOnImport(importlib.abc.MetaPathFinder):
    """Finds NumPy and PyTorch as usual, and seeds them when their import is done."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.looking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _SEEDERS or self.looking:
            return None
        self.looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.looking = False
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _SeedingLoader(spec.loader.name, spec.loader.path, self.seed)
        return spec


class _SeedingLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, seed: int) -> None:
        super().__init__(name, path)
        self.seed = seed

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _SEEDERS[module.__name__](module, self.seed)
