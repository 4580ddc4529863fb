"""What can be said about the settings of DAGs and of steps without knowing what they run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from tidemill.checks import params
from tidemill.checks.written import CONTEXT_NAMES
from tidemill.project import Project
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, printable
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow
from tidemill.spec.section import Section, keys_of
from tidemill.spec.steps import Callback, DeadlineSection, Group

_TEMPLATES = frozenset({"steps", "as_of", "each"})
"""What Tidemill gives to templates."""
_AIRFLOWS = CONTEXT_NAMES | {"conn", "macros", "var", "run_id"}
"""What Airflow gives to templates; a macro of that name would never be seen."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEPS_ONLY = ("trigger_rule", "do_xcom_push")
"""Settings that would break a pipeline's own stages, which wait for success and hand on what they return."""
_HOLDING_CALLBACKS = ("defaults", "steps", "deadline", "on_success", "on_failure")


def check(spec: Workflow, sources: Sources, project: Project) -> Iterator[SpecError]:
    """Every mistake in the settings of a file."""
    yield from params.check(spec, sources)
    if isinstance(spec, Spec) and (spec.max_active_runs or 1) > 1:
        message = "runs of a pipeline of models follow one another"
        yield sources.error(("max_active_runs",), message, "remove it: there is one at a time")
    for key in _STEPS_ONLY if isinstance(spec, Spec) and spec.defaults is not None else ():
        if getattr(spec.defaults, key) is not None:
            message = f'"{key}" would hold for the stages of the pipeline, too'
            yield sources.error(("defaults", key), message, "write it at steps, or in a group's defaults", key=True)
    for key in ("user_defined_macros", "user_defined_filters"):
        for name in getattr(spec, key) or {}:
            yield from _name(name, (key, name), sources, macro=key == "user_defined_macros")
    yield from _searched(spec, sources, project)
    for key in _HOLDING_CALLBACKS:
        for section, path in _sections(getattr(spec, key), (key,)):
            if isinstance(section, Callback | DeadlineSection):
                yield from _callback(section, path, sources)


def files_read(spec: Workflow, project: Project) -> list[FilePath]:
    """The files and folders that ``check`` looks at."""
    return [project.path(folder) for folder, _ in _folders(spec)]


def _callback(section: Callback | DeadlineSection, path: Path, sources: Sources) -> Iterator[SpecError]:
    given = [key for key in ("callback", "notifier") if sources.wrote(*path, key)]
    if not given:
        hint = "add `callback: include.alerts:page`, or `notifier:`"
        yield sources.error(path, "names nothing to call", hint, key=isinstance(path[-1], str))
    elif len(given) > 1:
        yield sources.error((*path, "notifier"), "there is `callback` already", "write two items", key=True)


def _name(name: str, path: Path, sources: Sources, *, macro: bool) -> Iterator[SpecError]:
    if not _NAME.fullmatch(name):
        hint = "letters, digits and _, beginning with a letter"
        yield sources.error(path, f'"{printable(name)[:60]}" is no name in templates', hint, key=True)
    elif macro and name in _TEMPLATES:
        yield sources.error(path, f'"{name}" is Tidemill\'s own in templates', "give it another name", key=True)
    elif macro and name in _AIRFLOWS:
        yield sources.error(path, f'"{name}" is Airflow\'s own in templates', "give it another name", key=True)


def _folders(spec: Workflow) -> Iterator[tuple[str, Path]]:
    given = spec.template_searchpath
    if isinstance(given, str):
        yield given, ("template_searchpath",)
    else:
        yield from ((folder, ("template_searchpath", index)) for index, folder in enumerate(given or ()))


def _searched(spec: Workflow, sources: Sources, project: Project) -> Iterator[SpecError]:
    for folder, path in _folders(spec):
        found = project.path(folder)
        try:
            inside = found.resolve().is_relative_to(project.root.resolve()) and "\0" not in folder
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            shown = printable(folder)[:80]
            yield sources.error(path, f'"{shown}" leads out of the project', "paths start at the project's root")
        elif not found.is_dir():
            yield sources.error(path, f'there is no folder "{folder}"', "paths start at the project's root")


def _sections(value: Any, path: Path) -> Iterator[tuple[Section, Path]]:
    """Every section in a value, with its place."""
    if isinstance(value, Section):
        yield value, path
        for key, field in _below(value):
            yield from _sections(field, (*path, key))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _sections(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sections(item, (*path, index))


def _below(section: Section) -> Iterator[tuple[str, Any]]:
    """The keys that hold sections: steps, defaults, and what is called."""
    if isinstance(section, Group):
        yield "steps", section.steps
        yield "defaults", section.defaults
        return
    for key in keys_of(type(section)):
        if key.startswith("on_"):
            yield key, getattr(section, key)
