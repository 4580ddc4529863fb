"""The specs as Airflow 3.4 and later read them: each YAML file for itself, without a loader.

Register it for all bundles, in Airflow's configuration:

    [dag_processor]
    dag_importer_configs = ["tidemill.airflow.importer.TidemillImporter"]

``dags/tidemill.py`` and ``dags/tidemill_errors.py`` then do nothing. Airflow before 3.4 has no importers: there this
module cannot be imported, and nothing imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_parsing_context
from airflow.sdk.importers import (  # type: ignore[import-not-found] # from Airflow 3.4 on
    AbstractDagImporter,
    DagImportError,
    DagImportResult,
    DagSourceCode,
    find_file_dag_definitions,
    get_file_suffix,
)

from tidemill.airflow.loader import dags_of
from tidemill.airflow.safety import SafetyCheck
from tidemill.cache import VerdictCache
from tidemill.discovery import NOT_PIPELINES, SUFFIXES, content, duplicates, files_of, is_pipeline, row_of
from tidemill.project import Project
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.load import DEFAULTS

if TYPE_CHECKING:
    from airflow.sdk import DAG

ROWS = " (rows)"
"""Behind a file's name: where the mistakes of some rows of its matrix are told of."""


class TidemillImporter(AbstractDagImporter):  # type: ignore[misc] # its base is untyped where it is absent
    """Lists the specs of a bundle and makes their DAGs; what is wrong with one is an import error of that file."""

    def __init__(self) -> None:
        self.supported_extensions = list(SUFFIXES)
        self._looked_at: dict[Path, tuple[int, int, bool]] = {}

    def can_handle(self, definition: Any) -> bool:
        """Whether a file may be a spec, by its name."""
        return get_file_suffix(definition) in self.supported_extensions

    def list_dag_definitions(self, bundle: Any, *, safe_mode: bool = True) -> Iterator[Any]:
        """The specs below the bundle's path, or at it if that is one file; what ``.airflowignore`` names is left
        out. Other YAML files are none: defaults, templates, and what does not look like a spec."""
        for definition in find_file_dag_definitions(bundle.path, self.supported_extensions):
            path: Path = definition.path
            if _is_named_like_pipeline(path, bundle.path) and self._is_pipeline(path):
                yield definition

    def _is_pipeline(self, path: Path) -> bool:
        # The dag-processor's manager lists again and again, and does nothing else meanwhile: a file is read once.
        try:
            stat = path.stat()
        except OSError:
            return False
        known = self._looked_at.get(path)
        if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
            known = (stat.st_mtime_ns, stat.st_size, is_pipeline(path, content(path)))
            self._looked_at[path] = known
        return known[2]

    def import_definition(self, definition: Any, bundle: Any) -> Any:
        """The DAGs of a spec, or its mistakes as ``tidemill validate`` prints them. In a task's process: its DAG, and
        in it its task for real.

        Airflow marks the DAGs of a file with errors stale. So the mistakes of some rows of a matrix are the errors
        of a file that does not exist, named after it, and the other rows live on.
        """
        result = DagImportResult(definition=definition)
        dags, errors = _import(definition.path, bundle.path)
        result.dags.extend(dags)
        if errors:
            # Airflow keeps the message and drops the other fields.
            source = f"{definition!r}{ROWS}" if dags else repr(definition)
            message = SpecErrors(errors).render()
            result.errors.append(DagImportError(source_reference=source, message=message, error_type="spec"))
        return result

    def get_source_code(self, definition: Any, dag_id: str | None = None) -> Any:
        """The YAML, as Airflow's Code tab shows it."""
        return DagSourceCode(content(definition.path).decode(errors="replace"), "yaml")


def _is_named_like_pipeline(path: Path, root: Path) -> bool:
    folders = path.relative_to(root).parent.parts if root.is_dir() else ()
    hidden = any(folder in NOT_PIPELINES or folder.startswith(".") for folder in folders)
    return path.name != DEFAULTS and not hidden


def _import(path: Path, bundle: Path) -> tuple[list[DAG], tuple[SpecError, ...]]:
    """The DAGs of a spec, and its mistakes."""
    root = bundle if bundle.is_dir() else bundle.parent
    dags = root.resolve()
    file = dags / path.relative_to(root)
    project = Project.of(dags)
    twice = duplicates(files_of(dags, file.stem), project.root)
    if file in twice:
        return [], (twice[file],)
    context = get_parsing_context()
    if context.dag_id is None:
        verdict = VerdictCache(project, SafetyCheck(project)).verdict(file, dags, content(file))
    else:
        verdict = VerdictCache(project).verdict(file, dags, content(file), row_of(context.dag_id), context.task_id)
    # By the path that Airflow knows the file by, to which it compares a DAG's address.
    lazy = context.dag_id is None
    return list(dags_of(verdict, path, project, context.dag_id, context.task_id, lazy=lazy)), verdict.errors
