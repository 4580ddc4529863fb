"""``python -m tidemill.processing --code DIR --inputs DIR --output DIR --message FILE``.

``inputs`` holds a folder for each input, and ``job/request.json``: the step, its spec, what its task has decided, and
the names of inputs that are single files. What is left in ``output``: the step's files, then ``.tidemill/files.json``
with their sizes, and as the last ``.tidemill/result.json`` with the facts and what the step's function returned. A
failure is told in the file ``message``; exit codes are those of a training (:mod:`tidemill.runtime.files`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata, util
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tidemill.runtime.files import EXIT_SYSTEM, EXIT_USER

_NEEDED: Final = {
    "validate": ("pydantic", "yaml", "pandas", "pyarrow", "great_expectations"),
    "evaluate": ("pydantic", "numpy", "pandas", "polars", "pyarrow", "sklearn", "mlflow"),
    "monitor": ("pydantic", "numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "mlflow"),
    "score": ("pydantic", "numpy", "pandas", "polars", "pyarrow", "sklearn", "mlflow"),
}
"""The modules that a step imports, whatever its model is made of."""
_COMPARED: Final = ("great-expectations", "numpy", "pandas", "polars", "pyarrow", "scikit-learn", "scipy")
"""The packages on whose versions numbers depend."""
_DOCS: Final = "docs/platforms/container.md"
_MOST_BYTES: Final = 1024
_SPECIAL: Final = ".tidemill"


def run(given: argparse.Namespace) -> int:
    """Compute, and leave what was found; the exit code."""
    with _Telling(given.message) as telling:
        request = json.loads((given.inputs / "job" / "request.json").read_text(encoding="utf-8"))
        lacking = [name for name in _NEEDED[request["step"]] if util.find_spec(name) is None]
        if lacking:
            raise ModuleNotFoundError(name=", ".join(lacking))
        value = _computed(request, given)
        _deliver(given.output, {"facts": request["facts"], "value": value, "versions": _versions()})
    return telling.code


class _Telling:
    """Ends with the exit code of whatever was raised, and says that in the log and in the job's message."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.code = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if error is None:
            return True
        from tidemill.errors import TidemillError

        if isinstance(error, ModuleNotFoundError):
            self._tell(f"the image lacks {error.name}; {_DOCS} says what it has to hold", user=True)
        elif isinstance(error, TidemillError):
            self._tell(str(error), user=not getattr(error, "retry", False))
        else:
            traceback.print_exception(error)
            self._tell(f"{type(error).__name__}: {error}", user=False)
        return isinstance(error, Exception)

    def _tell(self, message: str, *, user: bool) -> None:
        told = f"tidemill:{'user' if user else 'system'}: {message}"
        sys.stdout.write(f"{told}\n")
        self.code = EXIT_USER if user else EXIT_SYSTEM
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Text that is cut within a character would not be UTF-8, and SageMaker would say that instead.
            self.file.write_bytes(told.encode()[:_MOST_BYTES].decode(errors="ignore").encode())


def _computed(request: Mapping[str, Any], given: argparse.Namespace) -> Mapping[str, Any]:
    from tidemill.spec.models import Spec
    from tidemill.steps.computing import Computation

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    step = import_module(f"tidemill.steps.{request['step']}")
    found: Mapping[str, Any] = step.compute(
        Computation(
            spec=Spec.model_validate(request["spec"]),
            root=given.code,
            inputs={name: given.inputs / name / file for name, file in request["inputs"].items()},
            facts=request["facts"],
            output=given.output,
            log=logging.getLogger("tidemill"),
        )
    )
    return found


def _versions() -> dict[str, str]:
    found = {}
    for name in _COMPARED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _deliver(output: Path, result: Mapping[str, Any]) -> None:
    sizes = {p.relative_to(output).as_posix(): p.stat().st_size for p in sorted(output.rglob("*")) if p.is_file()}
    special = output / _SPECIAL
    special.mkdir()
    (special / "files.json").write_text(json.dumps(sizes, sort_keys=True), encoding="utf-8")
    text = json.dumps(result, sort_keys=True, allow_nan=False)
    (special / "result.json").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="tidemill.processing", description="Compute for a step, in a container.")
    parser.add_argument("--code", type=Path, required=True, help="the folder of the unpacked code")
    parser.add_argument("--inputs", type=Path, required=True, help="the folder with a folder for each input")
    parser.add_argument("--output", type=Path, required=True, help="the folder for what is found")
    parser.add_argument("--message", type=Path, required=True, help="the file in which a failure is told")
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
