"""What a spec file amounts to: its plans, and every mistake in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.errors import TidemillError
from tidemill.plan.model import Plan
from tidemill.project import Project, lies_in
from tidemill.spec.errors import MAX_ERRORS, SpecError, SpecErrors

if TYPE_CHECKING:
    from tidemill.spec.load import Pipelines, Sources
    from tidemill.spec.reuse import Reuse

_STEM = re.compile(r"[A-Za-z0-9_-]+")
_MAX_STEM = 200
"""Airflow keeps a DAG id in a column of 250 characters; the DAGs of a pipeline add to its id."""


@dataclass(frozen=True)
class Verdict:
    """The plans of one file, and what is wrong with it. ``files``: what was looked at besides the file itself.

    A file makes one plan or none; with a ``matrix:`` one for each sound row, beside the errors of the others.
    """

    plans: tuple[Plan, ...] = ()
    errors: tuple[SpecError, ...] = ()
    files: tuple[Path, ...] = ()


def judge(
    file: Path,
    dags: Path,
    project: Project,
    data: bytes = b"",
    row: str | None = None,
    task: str | None = None,
) -> Verdict:
    """Read and check one spec file. Imports none of the user's code, no operator and no cloud library.

    ``data``: the file's content, if it was read already. ``row``: of a matrix, this one alone. ``task``:
    of what steps run, look at this one's alone. Raises nothing:
    whatever happens is an error of this file, so that no other file has to suffer from it.
    """
    from tidemill.spec.load import DEFAULTS, defaults_for, shown_as

    name = shown_as(file, project.root)
    if file.name == DEFAULTS:
        message = "this is no pipeline, but what the pipelines of its folder inherit"
        return _refused(name, message, "validate the folder, or one of its pipelines")
    if file.stem == Path(DEFAULTS).stem:
        return _refused(name, f"inherited values are only read from {DEFAULTS}", "rename the file")
    if not _STEM.fullmatch(file.stem) or len(file.stem) > _MAX_STEM:
        message = f'"{file.stem}" cannot be a pipeline\'s id: letters, digits, "_" and "-", at most {_MAX_STEM}'
        return _refused(name, message, "rename the file")
    if not lies_in(file, dags, project.root):
        message = "this is a link that leads out of the project"
        return _refused(name, message, "copy the file, or link to one in the project")
    files = [path for path in defaults_for(file, dags) if path != file]
    try:
        plans, errors = _judge(file, dags, project, data, row, task, files)
    except SpecErrors as e:
        plans, errors = [], list(e.errors)
    except OSError as e:
        errors = [SpecError(name, 1, 1, "", f"cannot be read: {e.strerror}", "check the file and its permissions")]
        plans = []
    except TidemillError as e:
        plans, errors = [], [SpecError(name, 1, 1, "", str(e))]
    except Exception as e:  # noqa: BLE001 - a defect of ours must not hide the other pipelines of the folder
        message = f"Tidemill failed on this file: {type(e).__name__}: {e}"
        plans, errors = [], [SpecError(name, 1, 1, "", message, "please report this")]
    # What stands in one place and is used in several, by an anchor, is one mistake.
    unique = {(error.place, error.message): error for error in reversed(errors)}
    return Verdict(tuple(plans), _shown(SpecErrors(reversed(unique.values())).errors), tuple(dict.fromkeys(files)))


def _shown(errors: tuple[SpecError, ...]) -> tuple[SpecError, ...]:
    """No more errors than somebody reads; the last one says that there are others."""
    if len(errors) <= MAX_ERRORS + 1:  # one more, in which a matrix tells of the rest itself
        return errors
    rest = replace(errors[MAX_ERRORS], path="", message="more mistakes follow", hint="correct the ones that are shown")
    return (*errors[:MAX_ERRORS], rest)


def _judge(
    file: Path, dags: Path, project: Project, data: bytes, row: str | None, task: str | None, files: list[Path]
) -> tuple[list[Plan], list[SpecError]]:
    """Plans and errors; ``files`` takes what was looked at."""
    from tidemill.spec.load import load_pipelines

    found = load_pipelines(file, dags, project.root, data, files)
    if found.rows is None or found.reuse is None:
        plan, errors = _pipeline(file.stem, found.sources(), project, files, task)
        return [plan] if plan is not None else [], errors
    plans, of_rows = [], {}
    for name in found.rows:
        if row not in (None, name):
            continue
        plan, of_rows[name] = _row(file.stem, name, found, project, files, task)
        plans += [plan] if plan is not None else []
        if len(of_rows) == MAX_ERRORS and not plans and row is None:
            break  # what they share is broken: thousands of rows more would say the same
    for name, error in _of_one_model(found.reuse, plans):
        of_rows[name].append(error)
    return [plan for plan in plans if not of_rows[_row_of(plan)]], _told_by_row(found.reuse, of_rows)


def _row_of(plan: Plan) -> str:
    return plan.pipeline.partition(".")[2]


def _of_one_model(reuse: Reuse, plans: list[Plan]) -> Iterator[tuple[str, SpecError]]:
    """Rows that would register one model and take its alias from one another."""
    rows: dict[str, list[str]] = {}
    for plan in plans:
        if plan.model:
            rows.setdefault(plan.model, []).append(_row_of(plan))
    for model, same in rows.items():
        for row in same if len(same) > 1 else ():
            other = same[0] if row != same[0] else same[1]
            message = f'row "{other}" makes the model "{model}", too'
            yield row, reuse.at_row(row, message, f"write `model: {model}_${{row.id}}` in promote, or leave it out")


def _row(
    stem: str, row: str, found: Pipelines, project: Project, files: list[Path], task: str | None
) -> tuple[Plan | None, list[SpecError]]:
    assert found.reuse is not None
    pipeline = f"{stem}.{row}"
    if len(pipeline) > _MAX_STEM:
        message = f'"{pipeline}" is longer than the {_MAX_STEM} characters of a pipeline\'s id'
        return None, [found.reuse.at_row(row, message, "shorten the row's name")]
    try:
        return _pipeline(pipeline, found.sources(row), project, files, task)
    except SpecErrors as e:
        return None, list(e.errors)


def _told_by_row(reuse: Reuse, of_rows: dict[str, list[SpecError]]) -> list[SpecError]:
    """The errors of rows: what all of them have stands where it is written, what some have is shown at those rows,
    since nothing is wrong there but with their values."""
    having = Counter(error for errors in of_rows.values() for error in set(errors))
    told = []
    for row, errors in of_rows.items():
        for error in errors:
            if having[error] == len(of_rows) or reuse.in_row(row, error):
                told.append(error)
            else:
                where = f"{error.file}:{error.line}:{error.column}"
                shown = f"{error.path}: " if error.path else ""
                told.append(reuse.at_row(row, f"{shown}{error.message} (at {where})", error.hint))
    unseen = len(reuse.rows or ()) - len(of_rows)
    if len(of_rows) == MAX_ERRORS and unseen and all(of_rows.values()):
        hint = "correct the ones that are shown"
        told.append(reuse.at_matrix(f"the first {MAX_ERRORS} rows are all broken; {unseen:,} were not read", hint))
    elif len(told) > MAX_ERRORS:
        rest = reuse.at_matrix(f"{len(told) - MAX_ERRORS:,} more mistakes in rows", "correct the ones that are shown")
        told = [*sorted(told, key=lambda error: error.place)[:MAX_ERRORS], rest]
    return told


def _pipeline(
    pipeline: str, sources: Sources, project: Project, files: list[Path], task: str | None
) -> tuple[Plan | None, list[SpecError]]:
    from tidemill.checks import meaning
    from tidemill.checks import project as in_project
    from tidemill.plan.compile import Typed, compile_plan
    from tidemill.spec.load import parse, shown_as

    spec, errors = parse(sources)
    files += in_project.files_read(spec, project)
    errors += islice(meaning.check(spec, sources), MAX_ERRORS)
    found = in_project.check(spec, sources, project)
    typed: Typed = {}
    if not spec.is_plain:
        from tidemill.checks import settings, steps, structure

        files += settings.files_read(spec, project)
        found += islice(settings.check(spec, sources, project), MAX_ERRORS)
        found += islice(structure.check(spec, sources), MAX_ERRORS)
        ran = steps.check(spec, sources, project, task)
        found += ran.errors
        files += ran.files
        typed = ran.typed
    data = getattr(spec, "data", None)
    if data and data.expect and not any(error.path == "data.expect" for error in found):
        from tidemill.tools.great_expectations import check_suite

        suite = project.path(data.expect)
        found += check_suite(suite, shown_as(suite, project.root))
    errors += found
    return (None, errors) if errors else (compile_plan(pipeline, spec, sources, typed), [])


def _refused(name: str, message: str, hint: str) -> Verdict:
    return Verdict(errors=(SpecError(name, 1, 1, "", message, hint),))
