"""``tidemill validate``: every mistake in every spec, before anything is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.cli.locate import Place, UsageProblem, existing, place_of
from tidemill.discovery import duplicates, find
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.load import shown_as
from tidemill.verdict import Verdict, judge


def verdicts(paths: list[Path]) -> Iterator[tuple[Path, Verdict]]:
    """The verdict on each spec file: of a folder, every spec below it; a file that is named is always judged.

    Raises:
        UsageProblem: a path does not exist, or a folder holds no spec.
    """
    asked: dict[Path, set[Path]] = {}
    places: dict[Path, Place] = {}
    for path in paths:
        place = place_of(existing(path))
        files = [file for file, _ in find(path.resolve())] if path.is_dir() else [path.resolve()]
        if not files:
            raise UsageProblem(f"no spec below {path}: a spec is a YAML file with a top-level `tidemill: 1`")
        places[place.dags] = place
        asked.setdefault(place.dags, set()).update(files)
    for dags, together in asked.items():
        yield from _judged(sorted(together), places[dags])


def _judged(files: list[Path], place: Place) -> Iterator[tuple[Path, Verdict]]:
    root = place.project.root
    known = {file for file, _ in find(place.dags)} | set(files)
    twice = duplicates(sorted(known), root)
    for file in files:
        verdict = Verdict(None, (twice[file],)) if file in twice else judge(file, place.dags, place.project)
        yield file, replace(verdict, errors=tuple(_from_here(error, root) for error in verdict.errors))


def _from_here(error: SpecError, root: Path) -> SpecError:
    """An error whose file is named as it is reached from the current folder, so that a terminal can open it.
    Elsewhere files are named from the project's root, which is where most people stand."""
    return replace(error, file=shown_as(root / error.file, Path.cwd()))


def plan_of(path: Path) -> tuple[Any, Path, Place]:
    """The plan of one spec file, the file, and where it belongs.

    Raises:
        SpecErrors: the file has mistakes.
        UsageProblem: there is no such file.
    """
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder; name one spec file in it")
    ((file, verdict),) = verdicts([path])
    if verdict.plan is None:
        raise SpecErrors(verdict.errors)
    return verdict.plan, file, place_of(path)


def as_json(results: list[tuple[Path, Verdict]]) -> dict[str, Any]:
    """What ``--json`` prints; ``docs/cli.md`` describes it."""
    return {
        "ok": not any(verdict.errors for _, verdict in results),
        "files": [
            {
                "file": str(file),
                "pipeline": file.stem,
                "ok": not verdict.errors,
                "dags": [dag.dag_id for dag in verdict.plan.dags] if verdict.plan else [],
                "errors": [error.to_json() for error in verdict.errors],
            }
            for file, verdict in results
        ],
    }


def unique_errors(results: list[tuple[Path, Verdict]]) -> list[SpecError]:
    """Every mistake once: one in ``defaults.yaml`` is found with each pipeline that inherits it."""
    return list(dict.fromkeys(error for _, verdict in results for error in verdict.errors))
