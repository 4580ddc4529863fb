"""The loader: every sound spec as DAGs, every broken one told of, and in a task's process that task alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import BASE, BROKEN, REPOSITORY, WHOLE
from tidemill.project import Project

Write = Callable[..., Path]


def load(dags: Path) -> dict[str, Any]:
    from tidemill.airflow.loader import load as loads

    return loads(str(dags / "tidemill.py"))


def broken(dags: Path) -> str:
    from tidemill.airflow.loader import BrokenSpecs, raise_broken

    try:
        raise_broken(str(dags / "tidemill_errors.py"))
    except BrokenSpecs as e:
        return str(e)
    return ""


@contextmanager
def task_process(dag_id: str, task_id: str | None = None) -> Iterator[None]:
    """As in the process of a task, by Airflow's own means, which leave the context behind."""
    from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager

    with pytest.MonkeyPatch.context() as environment:
        environment.setattr(os, "environ", os.environ.copy())
        with _airflow_parsing_context_manager(dag_id=dag_id, task_id=task_id):
            yield


def bag(dags: Path) -> Any:
    """What the dag-processor makes of the folder."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=dags, safe_mode=False, load_op_links=False, bundle_path=dags, bundle_name="dags")


# The whole folder


def test_every_spec_gives_its_dags(write: Write) -> None:
    assert set(load(write(flights=WHOLE, other=BASE))) == {"flights", "flights.monitor", "other"}


def test_an_empty_folder_gives_none_and_nothing_is_wrong_with_it(write: Write) -> None:
    dags = write()
    assert load(dags) == {}
    assert broken(dags) == ""


@pytest.mark.parametrize(
    "text",
    [
        BROKEN,
        "",
        "# tidemill: 1\n",
        "tidemill: 1\n\tx",
        "tidemill: 1\n" + "[" * 200_000,
        "tidemill: 1\na: &a [x, x]\nb: [*a, *b]\n",
        BASE + "schedule: '0 0 30 2 *'\n",
        BASE + "start: 0001-01-01\nschedule: monthly\n",
        BASE + "owner: {name: a, link: 'https://[bad'}\n",
    ],
    ids=["meaning", "empty", "comments", "tab", "brackets", "alias", "never", "year_one", "address"],
)
def test_one_broken_spec_hides_no_other(write: Write, text: str) -> None:
    dags = write(a_good=BASE, m_bad=text, z_good=WHOLE)
    assert set(load(dags)) == {"a_good", "z_good", "z_good.monitor"}
    told = broken(dags)
    assert told.startswith("1 file is broken; all other pipelines go on.\n\ndags/m_bad.yaml:")


def test_a_broken_spec_is_told_of_as_validate_prints_it(write: Write) -> None:
    dags = write(good=BASE, one=BROKEN, two=BASE + "extra: 1\n")
    command = [sys.executable, "-m", "tidemill.cli.main", "validate", "dags"]
    ran = subprocess.run(command, cwd=dags.parent, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert broken(dags) == "2 files are broken; all other pipelines go on.\n\n" + ran.stdout.rstrip("\n")


def test_broken_defaults_are_told_once_and_only_below_their_folder(write: Write, project: Project) -> None:
    dags = write(good=BASE)
    for name in ("defaults", "one", "two"):
        path = dags / "team" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("owner: [a]\n" if name == "defaults" else BASE)
    assert set(load(dags)) == {"good"}
    assert broken(dags).count("dags/team/defaults.yaml:1:8: owner: expected text or a mapping") == 1
    (dags / "team" / "defaults.yaml").write_text("owner: a\n")
    assert set(load(dags)) == {"good", "one", "two"}
    assert broken(dags) == ""


def test_two_files_of_one_name_are_both_refused_and_others_are_not(write: Write) -> None:
    dags = write(good=BASE, flights=BASE)
    (dags / "team").mkdir()
    (dags / "team" / "flights.yml").write_text(BASE)
    assert set(load(dags)) == {"good"}
    told = broken(dags)
    assert 'dags/flights.yaml:1:1: two files for one pipeline: "flights" is also dags/team/flights.yml' in told
    assert 'dags/team/flights.yml:1:1: two files for one pipeline: "flights" is also dags/flights.yaml' in told


def test_what_airflow_refuses_is_that_specs_error_and_no_others(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if our checks had overlooked something: here, all of it."""
    monkeypatch.setattr("tidemill.checks.meaning.check", lambda spec, sources: [])
    dags = write(good=BASE, refused=BASE + "owner: {name: a, link: 'https://[bad'}\n")
    assert set(load(dags)) == {"good"}
    assert "dags/refused.yaml:1:1: Airflow cannot take the DAG 'refused': ValueError: Invalid IPv6 URL" in broken(dags)


def test_a_mended_spec_comes_back(write: Write) -> None:
    dags = write(flights=BROKEN)
    assert load(dags) == {}
    write(flights=BASE)
    assert set(load(dags)) == {"flights"}
    assert broken(dags) == ""


def test_both_dag_files_in_airflows_own_bag(write: Write) -> None:
    dags = write(flights=WHOLE, bad=BROKEN)
    found = bag(dags)
    assert set(found.dags) == {"flights", "flights.monitor"}
    assert {Path(file).name for file in found.import_errors} == {"tidemill_errors.py"}
    (text,) = found.import_errors.values()
    assert 'dags/bad.yaml:9:18: promote.when: unknown metric "roc_acu"' in text
    assert text.rstrip().endswith('^^^^^^^ did you mean "roc_auc"?')
    # Airflow reads the source again when it stores a DAG; by then the spec may be gone, and the source must not be.
    text = (dags / "flights.yaml").read_text()
    (dags / "flights.yaml").unlink()
    for dag in found.dags.values():
        assert dag.relative_fileloc == "tidemill.py"
        assert Path(dag.fileloc).name == "flights.yaml"
        assert Path(dag.fileloc).read_text() == text


def test_a_spec_with_steps_is_one_dag_though_it_was_built_for_the_check_before(write: Write) -> None:
    dags = write(flow="tidemill: 1\nsteps:\n  hello: {operator: BashOperator, with: {bash_command: echo}}\n")
    for _ in ("seen for the first time", "kept"):
        found = bag(dags)
        assert (set(found.dags), found.import_errors) == ({"flow"}, {})


def test_the_demonstrations_folder_loads() -> None:
    assert set(load(REPOSITORY / "dags")) >= {"flight_delays", "flight_delays.monitor"}
    assert broken(REPOSITORY / "dags") == ""


# A task's process


def test_only_the_tasks_own_dag_and_task_are_built(write: Write) -> None:
    from tidemill.airflow.factory import Placeholder

    dags = write(flights=WHOLE, other=BASE, bad=BROKEN)
    whole = load(dags)["flights"]
    with task_process("flights", "evaluate"):
        found = load(dags)
        assert broken(dags) == ""
    assert set(found) == {"flights"}
    tasks = {task.task_id: task for task in found["flights"].tasks}
    assert {name for name, task in tasks.items() if not isinstance(task, Placeholder)} == {"evaluate"}
    for task in whole.tasks:
        assert tasks[task.task_id].upstream_task_ids == task.upstream_task_ids
        assert tasks[task.task_id].trigger_rule == task.trigger_rule
    with task_process("flights.monitor", "request"):
        found = load(dags)
    assert set(found) == {"flights.monitor"}
    assert [asset.name for asset in found["flights.monitor"].get_task("request").outlets] == ["flights.retrain"]


def test_a_task_reads_its_own_spec_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    dags = write(flights=BASE, **{f"other{n}": BASE for n in range(20)})
    read: list[str] = []
    real = Path.open

    def counting(self: Path, *how: Any, **more: Any) -> Any:
        read.append(self.name)
        return real(self, *how, **more)

    monkeypatch.setattr(Path, "open", counting)
    with task_process("flights", "data"):
        assert set(load(dags)) == {"flights"}
    assert [name for name in read if name.endswith(".yaml")] == ["flights.yaml"]


@pytest.mark.parametrize("dag_id", ["flights", "flights.monitor"])
def test_a_task_of_a_broken_spec_fails_with_its_text(write: Write, dag_id: str) -> None:
    from tidemill.airflow.loader import BrokenSpecs

    dags = write(flights=BROKEN)
    with task_process(dag_id, "as_of"), pytest.raises(BrokenSpecs, match=r'dags/flights\.yaml:9:18: .*"roc_acu"'):
        load(dags)


def test_a_task_whose_spec_is_gone_or_doubled_or_makes_it_no_more_is_told_so(write: Write) -> None:
    from tidemill.airflow.loader import BrokenSpecs

    dags = write(other=BASE)
    with task_process("flights", "data"), pytest.raises(BrokenSpecs, match=r"there is no flights\.yaml below .*/dags"):
        load(dags)
    with task_process("other.monitor", "monitor"), pytest.raises(BrokenSpecs, match=r"dags/other\.yaml no longer asks"):
        load(dags)
    (dags / "team").mkdir()
    (dags / "team" / "other.yaml").write_text(BASE)
    with task_process("other", "data"), pytest.raises(BrokenSpecs, match="two files for one pipeline"):
        load(dags)


def test_another_yaml_of_the_same_name_is_no_second_pipeline(write: Write) -> None:
    dags = write(flights=BASE)
    (dags / "config").mkdir()
    (dags / "config" / "flights.yaml").write_text("airline: AA\n")
    with task_process("flights", "data"):
        assert set(load(dags)) == {"flights"}


def test_dag_and_task_in_airflows_own_bag_in_a_tasks_process(write: Write) -> None:
    dags = write(flights=WHOLE, bad=BROKEN)
    with task_process("flights", "data"):
        found = bag(dags)
    assert set(found.dags) == {"flights"}
    assert found.import_errors == {}


# A matrix


ROWS = WHOLE.replace("roc_auc: {at_least: 0.65}", "roc_auc: {at_least: '${row.least}'}")
MATRIX = ROWS + "matrix:\n  eu: {least: 0.6}\n  us: {least: high}\n  de: {least: 0.7}\n"


def test_the_sound_rows_of_a_matrix_live_beside_the_broken_ones(write: Write) -> None:
    dags = write(flights=MATRIX, other=BASE)
    assert set(load(dags)) == {"flights.eu", "flights.eu.monitor", "flights.de", "flights.de.monitor", "other"}
    told = broken(dags)
    assert told.startswith("1 file is broken; all other pipelines go on.\n\ndags/flights.yaml:")
    assert 'expected a number, got "high"' in told
    found = bag(dags)
    assert len(found.dags) == 5
    assert {Path(file).name for file in found.import_errors} == {"tidemill_errors.py"}


@pytest.mark.parametrize("warm", [False, True])
def test_a_task_of_a_row_builds_its_own_dag_alone(
    write: Write, project: Project, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    from tidemill.airflow.loader import BrokenSpecs
    from tidemill.plan import compile as compiler

    dags = write(flights=MATRIX)
    for file in (project.root / "include").iterdir():
        os.utime(file, (0, 0))  # what has just changed is not trusted yet
    if warm:
        load(dags)
    compiled: list[str] = []
    real = compiler.compile_plan
    monkeypatch.setattr(
        compiler, "compile_plan", lambda pipeline, *rest: (compiled.append(pipeline), real(pipeline, *rest))[1]
    )
    with task_process("flights.de", "evaluate"):
        assert set(load(dags)) == {"flights.de"}
    with task_process("flights.eu.monitor", "monitor"):
        assert set(load(dags)) == {"flights.eu.monitor"}
    assert compiled == ([] if warm else ["flights.de", "flights.eu"])
    with task_process("flights.us", "data"), pytest.raises(BrokenSpecs, match='expected a number, got "high"'):
        load(dags)
    with task_process("flights.fr", "data"), pytest.raises(BrokenSpecs, match=r"dags/flights\.yaml"):
        load(dags)


def test_a_row_is_loaded_alone(write: Write) -> None:
    from tidemill.airflow.loader import load_file

    dags = write(flights=MATRIX)
    assert set(load_file(dags / "flights.yaml", dags, "de")) == {"flights.de", "flights.de.monitor"}


def test_ignored_specs_are_none(write: Write) -> None:
    dags = write(flights=BASE, old=BROKEN)
    (dags / ".airflowignore").write_text("old.yaml\n")
    assert set(load(dags)) == {"flights"}
    assert broken(dags) == ""


# One file


def test_one_file_is_loaded_alone_and_its_mistakes_are_raised(write: Write, project: Project) -> None:
    from tidemill.airflow.loader import BrokenSpecs, load_file

    dags = write(flights=WHOLE, bad=BROKEN)
    assert set(load_file(dags / "flights.yaml", dags)) == {"flights", "flights.monitor"}
    with pytest.raises(BrokenSpecs, match="roc_acu"):
        load_file(dags / "bad.yaml", dags)


def test_with_airflows_importer_on_the_loader_stands_back(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    dags = write(flights=BASE, bad=BROKEN)
    configured = '["tidemill.airflow.importer.TidemillImporter"]'
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_IMPORTER_CONFIGS", configured)
    assert set(load(dags)) == {"flights"}  # this Airflow has no importers: the setting alone must not hide anything
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: known("airflow.sdk" if name == "airflow.sdk.importers" else name)
    )
    assert load(dags) == {}
    assert broken(dags) == ""
