"""The pytest plugin: every spec of a folder as tests, and pipelines as fixtures.

pytest loads this in each of its runs wherever Tidemill is installed, so it imports next to nothing, and does nothing
to a run that neither sets ``tidemill_specs`` nor asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tidemill.testing.items import SpecFile, Specs
    from tidemill.testing.pipeline import Pipeline

_OPTION = "--tidemill-specs"
_INI = "tidemill_specs"
_MARKER = "tidemill(path, environment=None, row=None): the pipeline that the fixture tidemill_pipeline loads"
_SLOW = 'slow: takes its time, as the runs in the tests that `tidemill new` writes; -m "not slow" leaves it out'
_KEY: pytest.StashKey[Specs] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and the setting by which a folder's specs become tests."""
    text = "folder of Tidemill specs, each of which becomes tests: is it valid, do its DAGs build"
    parser.getgroup("tidemill").addoption(_OPTION, metavar="DIR", default=None, help=text)
    parser.addini(_INI, f"{text} (relative to the root folder)", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and let pytest look into the folder of specs unless it was told where to look."""
    config.addinivalue_line("markers", _MARKER)
    if not any(line.split(":")[0].strip() == "slow" for line in config.getini("markers")):
        config.addinivalue_line("markers", _SLOW)
    folder = _folder(config)
    if folder is None:
        return
    from tidemill.testing.items import Specs

    if not folder.is_dir():
        raise pytest.UsageError(f"{_OPTION}, {_INI}: there is no folder {folder}")
    config.stash[_KEY] = Specs(folder)
    told = config.args_source is pytest.Config.ArgsSource.ARGS
    if not told and not any(folder.is_relative_to(Path(arg).resolve()) for arg in config.args):
        config.args.append(str(folder))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """A spec of the folder as a file of tests."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    specs = parent.config.stash.get(_KEY, None)
    if specs is None or not specs.has(file_path):
        return None
    from tidemill.testing.items import SpecFile

    return SpecFile.from_parent(parent, path=file_path, specs=specs)


@pytest.fixture
def load_pipeline(pytestconfig: pytest.Config) -> Callable[..., Pipeline]:
    """Loads pipelines, as ``tidemill.testing.load``; paths are relative to pytest's root folder."""
    from tidemill.testing import load

    def load_it(path: str | Path, *, environment: str | None = None, row: str | None = None) -> Pipeline:
        __tracebackhide__ = True
        return load(pytestconfig.rootpath / path, environment=environment, row=row)

    return load_it


@pytest.fixture
def tidemill_pipeline(request: pytest.FixtureRequest, load_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """The pipeline that the test's, class's or module's marker names: ``@pytest.mark.tidemill("dags/churn.yaml")``."""
    __tracebackhide__ = True
    marker = request.node.get_closest_marker("tidemill")
    if marker is None:
        raise pytest.UsageError(
            'the fixture tidemill_pipeline needs to know which: @pytest.mark.tidemill("dags/churn.yaml")'
        )
    return load_pipeline(*marker.args, **marker.kwargs)


def _folder(config: pytest.Config) -> Path | None:
    given: str | None = config.getoption(_OPTION)
    if given is not None:
        return (config.invocation_params.dir / given).resolve()
    written: str = config.getini(_INI)
    return (config.rootpath / written).resolve() if written else None
