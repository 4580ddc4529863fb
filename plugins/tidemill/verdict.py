"""What a spec file amounts to: its plan, or every mistake in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.spec.errors import SpecError, SpecErrors

_STEM = re.compile(r"[A-Za-z0-9_-]+")
_MAX_STEM = 200
"""Airflow keeps a DAG id in a column of 250 characters; the DAGs of a pipeline add to its id."""


@dataclass(frozen=True)
class Verdict:
    """The plan of one file, or what is wrong with it. ``files``: what was looked at besides the file itself."""

    plan: Plan | None
    errors: tuple[SpecError, ...] = ()
    files: tuple[Path, ...] = ()


def judge(file: Path, dags: Path, project: Project) -> Verdict:
    """Read and check one spec file. Imports none of the user's code, no operator and no cloud library."""
    from tidemill.checks import meaning
    from tidemill.checks import project as in_project
    from tidemill.plan.compile import compile_plan
    from tidemill.spec.load import defaults_for, load_sources, parse, shown_as

    files = tuple(path for path in defaults_for(file, dags) if path != file)
    if not _STEM.fullmatch(file.stem) or len(file.stem) > _MAX_STEM:
        message = f'"{file.stem}" cannot be a pipeline\'s id: letters, digits, "_" and "-", at most {_MAX_STEM}'
        return Verdict(None, (SpecError(shown_as(file, project.root), 1, 1, "", message, "rename the file"),), files)
    try:
        sources = load_sources(file, dags, project.root)
    except SpecErrors as e:
        return Verdict(None, e.errors, files)
    except OSError as e:
        error = SpecError(
            shown_as(file, project.root), 1, 1, "", f"cannot be read: {e.strerror}", "check the file's permissions"
        )
        return Verdict(None, (error,), files)
    spec, errors = parse(sources)
    errors += meaning.check(spec, sources)
    found = in_project.check(spec, sources, project)
    files += tuple(in_project.files_read(spec, project))
    if spec.data and spec.data.expect and not any(e.path == "data.expect" for e in found):
        from tidemill.tools.great_expectations import check_suite

        found += check_suite(project.path(spec.data.expect), spec.data.expect)
    errors += found
    if errors:
        return Verdict(None, SpecErrors(errors).errors, files)
    return Verdict(compile_plan(file.stem, spec, sources), (), files)
