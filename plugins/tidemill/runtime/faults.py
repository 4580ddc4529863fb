"""Failures of the user's code, in words that say where and what to do, with the user's own frames only."""

from __future__ import annotations

import difflib
import errno
import importlib
import importlib.abc
import importlib.machinery
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .files import Failure

_FRAMES = 8
_LIBRARY = re.compile(r"[/\\\\](site|dist)-packages[/\\\\]")


class UserFault(Exception):
    """The user's code is not what the training contract asks for."""

    def __init__(self, kind: str, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(kind, message, user=True, traceback=trace)


def load_function(code: str, root: Path) -> Callable[[Any], Any]:
    """Import ``module:function`` from the project's root and check that it takes one argument.

    Raises:
        UserFault: the module or function is missing or does not import, or its signature does not fit.
    """
    name, _, function = code.partition(":")
    module = _import(name, root, code)
    found = getattr(module, function, None)
    where = _relative(getattr(module, "__file__", None) or name, root)
    if found is None:
        here = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UserFault(
            "FunctionMissing",
            f"train.code {code}: {where} has no {function!r}{_did_you_mean(function, here)}",
        )
    if not callable(found):
        raise UserFault(
            "NotCallable",
            f"train.code {code}: {function!r} in {where} is a {type(found).__name__}, not a function",
        )
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return found  # type: ignore[no-any-return]
    try:
        signature.bind(None)
    except TypeError:
        raise UserFault(
            "WrongSignature",
            f"train.code {code}: {function}{signature} in {where} cannot be called with one argument; "
            f"it must be {function}(context)",
        ) from None
    return found  # type: ignore[no-any-return]


class _FromRoot(importlib.abc.MetaPathFinder):
    """Finds one top-level package in the project's root, and nowhere else.

    Python prefers a folder with an ``__init__.py`` anywhere on its path to one without; another ``include`` on
    the path would hide the project's own.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = str(root)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.machinery.PathFinder.find_spec(name, [self.root]) if name == self.name else None


def describe(error: BaseException, root: Path, doing: str) -> Failure:
    """An exception out of the user's code, as a failure; ``doing`` names the code: ``train.code a:b``."""
    frames = _own_frames(error, root)
    at = f" ({_relative(frames[-1].filename, root)}:{frames[-1].lineno})" if frames else ""
    shown = "".join(traceback.format_list(frames)) + "".join(traceback.format_exception_only(type(error), error))
    if isinstance(error, SystemExit):
        return Failure("SystemExit", f"{doing} called sys.exit({error.code!r}){at}; it must return", True, shown)
    if isinstance(error, MemoryError):
        return Failure("MemoryError", f"{doing} ran out of memory{at}", True, shown)
    text = _short("".join(traceback.format_exception_only(type(error), error)).strip())
    # A full disk or a dead network mount is not the user's mistake, and a later try may find it mended.
    user = not (isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS)
    return Failure(type(error).__name__, f"{doing} raised {text}{at}", user, shown)


_SYSTEM_ERRORS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ENFILE,
        errno.EMFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.EROFS,
    }
)


def _import(name: str, root: Path, code: str) -> ModuleType:
    sys.meta_path.insert(0, _FromRoot(name.partition(".")[0], root))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(e.name + ".")):
            raise UserFault("ModuleMissing", _missing_module(code, e.name, root)) from None
        failure = describe(e, root, f"importing train.code {code}")
        message = f"{failure.message}; is the package {str(e.name).partition('.')[0]!r} installed?"
        raise UserFault("ImportFailed", message, failure.traceback) from None
    except SyntaxError as e:
        at = f"{_relative(e.filename or '?', root)}:{e.lineno}"
        raise UserFault(
            "SyntaxError", f"train.code {code} does not import: {at}: {type(e).__name__}: {e.msg}"
        ) from None
    except BaseException as e:  # noqa: BLE001 - the user's module may raise anything
        failure = describe(e, root, f"importing train.code {code}")
        raise UserFault("ImportFailed", failure.message, failure.traceback) from None


def _missing_module(code: str, missing: str, root: Path) -> str:
    parent, _, last = missing.rpartition(".")
    folder = root.joinpath(*parent.split(".")) if parent else root
    siblings = [p.stem for p in folder.glob("*") if p.suffix == ".py" or (p.is_dir() and p.name.isidentifier())]
    wanted = root.joinpath(*missing.split("."))
    return f"train.code {code}: no module {missing} (looked for {wanted}.py){_did_you_mean(last, siblings)}"


def _own_frames(error: BaseException, root: Path) -> list[traceback.FrameSummary]:
    inside = str(root.resolve()) + os.sep
    here = str(Path(__file__).resolve().parent) + os.sep
    own = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = os.path.realpath(frame.filename)
        if path.startswith(inside) and not path.startswith(here) and not _LIBRARY.search(path):
            own.append(frame)
    return own[-_FRAMES:]


def _relative(path: str, root: Path) -> str:
    try:
        return str(Path(path).resolve().relative_to(root.resolve()))
    except ValueError:
        return str(path)


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _short(text: str, limit: int = 600) -> str:
    return text if len(text) <= limit else text[:limit] + " …"
