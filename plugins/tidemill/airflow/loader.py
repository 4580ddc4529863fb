"""What ``dags/tidemill.py`` calls: every spec below its folder as DAGs; in a task's process only its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.cache import VerdictCache
from tidemill.discovery import content, duplicates, files_of, find, pipeline_of, repeated, row_of
from tidemill.errors import TidemillError
from tidemill.project import Project
from tidemill.spec.load import shown_as
from tidemill.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import DAG


_FOR_READING = 0.5
"""The share of the time Airflow gives a DAG file in which specs are read anew; the DAGs are built in the rest. A file
that takes longer would take all its pipelines along."""


class BrokenSpecs(TidemillError):
    """What is wrong with the specs of a folder, as ``tidemill validate`` prints it."""


def load(loader: str, dags: str = ".") -> dict[str, DAG]:
    """The DAGs of every spec below the folder of ``loader`` (the ``__file__`` of the DAG file that calls this), but for
    folders with a loader of their own: Airflow parses several loaders side by side, and gives each its own time.

    ``dags``: the DAG folder, from the loader's. In a folder below it: ``load(__file__, "..")``.

    A broken spec gives none; :func:`raise_broken` tells of it. In a task's process only the DAG of that task is
    built, from the one file of that name, and in it only that task for real.
    """
    from airflow.sdk import get_parsing_context

    folder, top = _folders(loader, dags)
    if importer_is_on():
        return {}
    context = get_parsing_context()
    if context.dag_id is not None:
        return _load_one(top, context.dag_id, context.task_id)
    project = Project.of(top)
    cache = VerdictCache(project)
    built: dict[str, DAG] = {}
    for file, verdict in _verdicts(folder, top):
        if verdict is None:
            continue
        try:
            built |= {dag.dag_id: dag for dag in dags_of(verdict, cache.source(file), project, lazy=True)}
        except Exception:  # noqa: BLE001 - what passed the check a while ago must not take the others along
            # A provider is gone, or acts otherwise: the file is judged anew where its errors are told.
            cache.forget(file)
    return built


def _folders(loader: str, dags: str) -> tuple[Path, Path]:
    """The loader's own folder, and the DAG folder it is in."""
    folder = Path(loader).resolve().parent
    top = (folder / dags).resolve()
    if not folder.is_relative_to(top):
        raise BrokenSpecs(f'load(__file__, "{dags}"): {top} is no folder around {folder}; write ".." for the one above')
    return folder, top


def load_file(file: Path, dags: Path, row: str | None = None) -> dict[str, DAG]:
    """The DAGs of one spec file, for a run of that file alone; ``row``: of its matrix, this one alone.

    Raises:
        BrokenSpecs: the file, or the row, has mistakes.
    """
    project = Project.of(dags)
    verdict = VerdictCache(project).verdict(file, dags, content(file), row)
    _refuse_broken(verdict)
    return {dag.dag_id: dag for dag in dags_of(verdict, file, project)}


def raise_broken(loader: str, dags: str = ".") -> None:
    """Raise what is wrong with the specs below the folder of ``loader``, all of them in one text; as :func:`load`.

    Raises:
        BrokenSpecs: there is something wrong.
    """
    from airflow.sdk import get_parsing_context

    if get_parsing_context().dag_id is not None or importer_is_on():
        return
    # From the other end than the loader, which Airflow runs at the same time: what one of them has judged is kept.
    verdicts = [verdict for _, verdict in _verdicts(*_folders(loader, dags), backwards=True)]
    errors = [error for verdict in verdicts if verdict is not None for error in verdict.errors]
    if errors:
        from tidemill.spec.errors import SpecErrors

        files = len({error.file for error in errors})
        head = "1 file is broken" if files == 1 else f"{files} files are broken"
        waiting = verdicts.count(None)
        rest = f"; {waiting:,} more are still to be read" if waiting else ""
        unique = dict.fromkeys(errors)
        raise BrokenSpecs(f"{head}{rest}; all other pipelines go on.\n\n{SpecErrors(unique).render()}")


def importer_is_on() -> bool:
    """Whether Airflow reads the specs itself, through :mod:`tidemill.airflow.importer`: it must be configured, and
    Airflow must know importers (3.4 on), lest nobody read them."""
    from importlib.util import find_spec

    from airflow.configuration import conf

    configured: str = conf.get("dag_processor", "dag_importer_configs", fallback="") or ""
    return "tidemill.airflow.importer" in configured and find_spec("airflow.sdk.importers") is not None


def dags_of(
    verdict: Verdict,
    file: Path,
    project: Project,
    dag_id: str | None = None,
    task_id: str | None = None,
    *,
    lazy: bool = False,
) -> Iterator[DAG]:
    """The DAGs of a verdict's plans; with ``dag_id`` only that one, with ``task_id`` only that task of it for real.
    ``lazy``: without importing the user's functions.

    Raises:
        Unbuildable: a class or function of a step is not there.
    """
    from tidemill.airflow.factory import build

    for plan in verdict.plans:
        for dag_plan in plan.dags:
            if dag_id is None or dag_plan.dag_id == dag_id:
                yield build(plan, dag_plan, file, project, only=task_id, lazy=lazy)


def _load_one(dags: Path, dag_id: str, task_id: str | None) -> dict[str, DAG]:
    project, pipeline = Project.of(dags), pipeline_of(dag_id)
    files = files_of(dags, pipeline)
    if len(files) != 1:
        twice = duplicates(files, project.root)
        _refuse_broken(Verdict(errors=tuple(twice.values())))
        raise BrokenSpecs(f"the spec of {dag_id} is gone: there is no {pipeline}.yaml below {dags}")
    file = files[0]
    verdict = VerdictCache(project).verdict(file, dags, content(file), row_of(dag_id), task_id)
    _refuse_broken(verdict)
    built = {dag.dag_id: dag for dag in dags_of(verdict, file, project, dag_id, task_id)}
    if not built:
        raise BrokenSpecs(f"the DAG {dag_id} is gone: {shown_as(file, project.root)} no longer asks for it")
    return built


def _refuse_broken(verdict: Verdict) -> None:
    if verdict.errors and not verdict.plans:
        from tidemill.spec.errors import SpecErrors

        raise BrokenSpecs(SpecErrors(verdict.errors).render())


def _verdicts(folder: Path, top: Path, *, backwards: bool = False) -> Iterator[tuple[Path, Verdict | None]]:
    """Every spec file of a loader with its verdict, the check by serialization included; ``None`` is one for which
    there is no time left, after thousands were seen for the first time: the next parse goes on with it."""
    from airflow.configuration import conf

    from tidemill.airflow.safety import SafetyCheck

    began, limit = time.monotonic(), conf.getfloat("core", "dagbag_import_timeout")
    found = find(folder, of_loader=True)
    project = Project.of(top)
    twice = duplicates(repeated((file for file, _ in found), top), project.root)
    cache = VerdictCache(project, SafetyCheck(project))
    for file, data in reversed(found) if backwards else found:
        if file in twice:
            yield file, Verdict(errors=(twice[file],))
        elif 0 < limit * _FOR_READING < time.monotonic() - began:
            yield file, cache.kept(file, top, data)
        else:
            yield file, cache.verdict(file, top, data)
