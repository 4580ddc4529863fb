"""Named classes, imported: for a process that looks at their signatures and ends, and for building a task.

``python -m tidemill.airflow.signatures NAME…`` writes one line of JSON for each class as soon as it is known:
``{"name", "signature", "real": [module, name]}`` or ``{"name", "problem": [message, hint]}``.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

from tidemill.checks.allowed import Use, elsewhere, full_name, refused, split_name
from tidemill.checks.reflect import signature_of
from tidemill.errors import TidemillError

_SHOWN = 300


def load_class(name: str, use: Use) -> type:
    """The class that a spec names, imported, in the process that needs it.

    Raises:
        TidemillError: a spec may not name it, or it cannot be imported.
    """
    wrong = refused(name, use)
    full = full_name(name, use)
    if wrong is None:
        cls = _import(full)
        wrong = elsewhere(full, use, cls.__module__, cls.__qualname__)
        if wrong is None:
            return cls
    raise TidemillError("; ".join(filter(None, wrong)))


def load_function(name: str) -> Any:
    """The function ``include.module:function`` that a spec names, imported; as `load_class`."""
    wrong = refused(name, "callable")
    if wrong is not None:
        raise TidemillError("; ".join(filter(None, wrong)))
    module, member = split_name(name)
    try:
        found = getattr(import_module(module), member)
    except (ImportError, AttributeError) as e:
        raise TidemillError(f'"{name}" cannot be imported: {e}') from e
    if not callable(found):
        raise TidemillError(f'"{name}" is no function')
    return found


def _import(full: str) -> type:
    module, member = split_name(full)
    try:
        found = getattr(import_module(module), member)
    except (ImportError, AttributeError) as e:
        raise TidemillError(f'"{full}" cannot be imported: {e}') from e
    if not isinstance(found, type):
        raise TidemillError(f'"{full}" is no class')
    return found


def _answer(name: str) -> dict[str, Any]:
    try:
        cls = _import(name)
        return {
            "name": name,
            "signature": signature_of(cls, name).to_json(),
            "real": [cls.__module__, cls.__qualname__],
        }
    except TidemillError as e:
        return {"name": name, "problem": [str(e)[:_SHOWN], "a package that it needs may not be installed"]}
    except Exception as e:  # noqa: BLE001 - a module's import may raise anything, and the others are still to be answered
        return {"name": name, "problem": [f'"{name}" cannot be imported: {type(e).__name__}: {e}'[:_SHOWN], None]}


def main(names: list[str]) -> None:
    """Answer for each name. What the modules themselves print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in names:
        answers.write(json.dumps(_answer(name)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
