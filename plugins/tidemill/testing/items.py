"""Specs as tests of pytest: ``dags/churn.yaml::valid`` and ``dags/churn.yaml::builds``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tidemill.cli.locate import Place
    from tidemill.spec.errors import SpecError
    from tidemill.verdict import Verdict


class Specs:
    """The specs below a folder; what is about all of them is found once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, file: Path) -> bool:
        """Whether a file is one of them: not what specs inherit, nor a template, nor what Airflow ignores."""
        return file in self._files

    @cached_property
    def place(self) -> Place:
        """Their DAG folder and project."""
        from tidemill.cli.locate import place_of

        return place_of(self.folder)

    @cached_property
    def _files(self) -> frozenset[Path]:
        from tidemill.discovery import find

        return frozenset(file for file, _ in find(self.place.dags) if file.is_relative_to(self.folder))

    @cached_property
    def _twice(self) -> dict[Path, SpecError]:
        from tidemill.discovery import duplicates

        return duplicates(sorted(self._files), self.place.project.root)

    def verdict(self, file: Path) -> Verdict:
        """The verdict on one of them, by ``tidemill validate``."""
        from tidemill.cli.validate import verdict_on

        return verdict_on(file, self.place, self._twice)


class SpecFile(pytest.File):
    """A spec file."""

    def __init__(self, *, specs: Specs, **given: Any) -> None:
        super().__init__(**given)
        self.specs = specs

    @cached_property
    def verdict(self) -> Verdict:
        """What the file amounts to; judged when the first of its tests runs."""
        return self.specs.verdict(self.path)

    def collect(self) -> Iterator[pytest.Item]:
        """Its tests."""
        yield Valid.from_parent(self, name="valid")
        yield Builds.from_parent(self, name="builds")


class SpecFailed(AssertionError):
    """What is wrong with a spec, as text for a person."""


class _SpecItem(pytest.Item):
    parent: SpecFile

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The text alone: where we are in Tidemill's code is no news to who wrote the spec."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is, and what it is called in the head of its failure."""
        return self.path, 0, f"{self.parent.path.name}: {self.name}"


class Valid(_SpecItem):
    """The spec has no mistakes."""

    def runtest(self) -> None:
        """Raises SpecFailed with what ``tidemill validate`` prints."""
        errors = self.parent.verdict.errors
        if errors:
            from tidemill.spec.errors import SpecErrors

            raise SpecFailed(SpecErrors(errors).render())


class Builds(_SpecItem):
    """Each of its DAGs builds with its real operators, and Airflow can store it. A spec, or row of a matrix, with
    mistakes builds none, which is told by the other test."""

    def runtest(self) -> None:
        """Raises SpecFailed with all that cannot be built."""
        from tidemill.testing.building import built

        verdict, project = self.parent.verdict, self.parent.specs.place.project
        if not verdict.plans:
            raise pytest.skip.Exception("it is not valid", _use_item_location=True)
        failed = []
        for plan in verdict.plans:
            for dag in plan.dags:
                try:
                    built(plan, dag, self.path, project)
                except AssertionError as e:
                    failed.append(str(e))
        if failed:
            raise SpecFailed("\n".join(failed))
