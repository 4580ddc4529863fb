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


def judge(file: Path, dags: Path, project: Project, data: bytes = b"") -> Verdict:
    """Read and check one spec file. Imports none of the user's code, no operator and no cloud library.

    ``data``: the file's content, if it was read already. Raises nothing: whatever happens is an error of this
    file, so that no other file has to suffer from it.
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
    files = tuple(path for path in defaults_for(file, dags) if path != file)
    try:
        return _judge(file, dags, project, data, files)
    except SpecErrors as e:
        return Verdict(None, e.errors, files)
    except OSError as e:
        return _refused(name, f"cannot be read: {e.strerror}", "check the file and its permissions", files)
    except Exception as e:  # noqa: BLE001 - a defect of ours must not hide the other pipelines of the folder
        return _refused(name, f"Tidemill failed on this file: {type(e).__name__}: {e}", "please report this", files)


def _judge(file: Path, dags: Path, project: Project, data: bytes, files: tuple[Path, ...]) -> Verdict:
    from tidemill.checks import meaning
    from tidemill.checks import project as in_project
    from tidemill.plan.compile import compile_plan
    from tidemill.spec.load import load_sources, parse, shown_as

    sources = load_sources(file, dags, project.root, data)
    spec, errors = parse(sources)
    files += tuple(in_project.files_read(spec, project))
    errors += meaning.check(spec, sources)
    found = in_project.check(spec, sources, project)
    if spec.data and spec.data.expect and not any(error.path == "data.expect" for error in found):
        from tidemill.tools.great_expectations import check_suite

        suite = project.path(spec.data.expect)
        found += check_suite(suite, shown_as(suite, project.root))
    errors += found
    if errors:
        # What stands in one place and is used in several, by an anchor, is one mistake.
        unique = {(error.place, error.message): error for error in reversed(errors)}
        return Verdict(None, SpecErrors(reversed(unique.values())).errors, files)
    return Verdict(compile_plan(file.stem, spec, sources), (), files)


def _refused(name: str, message: str, hint: str, files: tuple[Path, ...] = ()) -> Verdict:
    return Verdict(None, (SpecError(name, 1, 1, "", message, hint),), files)
