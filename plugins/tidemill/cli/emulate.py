"""``tidemill run --emulate``: a stand-in for the cloud on this machine, for as long as a run takes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import tidemill
from tidemill.cli.locate import UsageProblem
from tidemill.plan.model import Plan

_PACKAGE = "tests.emulators"


@contextmanager
def emulated(plan: Plan) -> Iterator[None]:
    """While this lasts, the connections of the pipeline's platform lead to an emulator, whatever else they are.

    Raises:
        UsageProblem: the pipeline uses no cloud; the emulators are not there, or do not start.
    """
    platform = plan.spec.get("platform", {})
    provider = platform.get("provider", "local")
    if provider == "local":
        raise UsageProblem(f"{plan.pipeline} uses no cloud: there is nothing to emulate")
    root = Path(tidemill.__file__).resolve().parents[2]
    if not root.joinpath(*_PACKAGE.split("."), "__init__.py").is_file():
        raise UsageProblem(
            "the emulators come with Tidemill's repository, not with its package: clone it, and run `make setup` and "
            "this command there"
        )
    sys.path.insert(0, str(root))
    try:
        emulators = import_module(_PACKAGE)
        with tempfile.TemporaryDirectory(prefix="tidemill-emulator-") as folder:
            running = emulators.start(provider, Path(folder), platform)
            before = dict(os.environ)
            os.environ.update(running.environment)
            try:
                yield
            finally:
                os.environ.clear()
                os.environ.update(before)
                running.stop()
    except ImportError as error:
        raise UsageProblem(
            f"the emulator of {provider} needs {error.name}: run `make setup` in the repository"
        ) from error
    except RuntimeError as error:
        raise UsageProblem(f"the emulator of {provider} did not start: {error}") from error
    finally:
        sys.path.remove(str(root))
