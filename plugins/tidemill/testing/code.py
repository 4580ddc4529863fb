"""The project's own code in the process of a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_PACKAGE = "include"


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """A project's code can be imported, for a while: ``include`` is the one of this root.

    What is imported stays, so that a test and a step see the same modules. Of another project's ``include``, which was
    there before, nothing is seen meanwhile, and it is back afterwards.
    """
    path = list(sys.path)
    foreign = {} if _is_of(root) else _taken_away()
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        if foreign:
            _taken_away()
            sys.modules.update(foreign)


def _is_of(root: Path) -> bool:
    """Whether ``include`` was not imported yet, or from this root."""
    package = sys.modules.get(_PACKAGE)
    return package is None or (root / _PACKAGE).resolve() in [Path(p).resolve() for p in package.__path__]


def _taken_away() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]
    return {name: sys.modules.pop(name) for name in names}
