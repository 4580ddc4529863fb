"""What the tests of the Airflow side share: a project with pipelines, and Airflow imported once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.airflow_home import import_airflow
from tests.spec.test_load import BASE
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.plan.model import Plan

REPOSITORY = Path(__file__).parents[2]
BROKEN = BASE.replace("roc_auc:", "roc_acu:")
WHOLE = (
    BASE.replace("  source:", "  expect: include/suite.yaml\n  source:").replace("}}}", "}}, approval: manual}")
    + "schedule: quarterly\nstart: 2013-07-01\nend: 2014-01-01\n"
    "description: |\n  Which departures are late?\n\n  Nobody knows.\n"
    'owner: {name: ops, link: "https://example.org/ops"}\ntags: [flights]\nlinks: {data: "https://example.org/data"}\n'
    "monitor: {schedule: monthly, drift: {}}\nretrain: {triggers: [drift]}\n"
)


@pytest.fixture(scope="session", autouse=True)
def _airflow() -> None:
    import_airflow()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without pipelines, with both DAG files of the repository."""
    for name in ("TIDEMILL_ROOT", "TIDEMILL_STATE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    suite = "expectations:\n- {type: expect_column_to_exist, column: id}\n"
    (tmp_path / "include" / "suite.yaml").write_text(suite)
    (tmp_path / "dags").mkdir()
    for name in ("tidemill.py", "tidemill_errors.py"):
        shutil.copy(REPOSITORY / "dags" / name, tmp_path / "dags" / name)
    return Project.of(tmp_path / "dags")


@pytest.fixture
def write(project: Project) -> Callable[..., Path]:
    """Write specs into the DAG folder: ``write(flights=BASE, other=BROKEN)``."""

    def writes(**specs: str) -> Path:
        for name, text in specs.items():
            (project.root / "dags" / f"{name}.yaml").write_text(text, encoding="utf-8")
        return project.root / "dags"

    return writes


@pytest.fixture
def plan_of(project: Project, write: Callable[..., Path]) -> Callable[[str], Plan]:
    """The plan of a spec's text, as ``dags/flights.yaml``."""
    from tidemill.verdict import judge

    def plans(text: str) -> Plan:
        dags = write(flights=text)
        verdict = judge(dags / "flights.yaml", dags, project)
        assert verdict.plans, verdict.errors
        return verdict.plans[0]

    return plans
