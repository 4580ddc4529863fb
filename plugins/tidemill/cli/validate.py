"""``tidemill validate``: every mistake in every spec, before anything is deployed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.cli.locate import Place, UsageProblem, existing, place_of
from tidemill.discovery import SUFFIXES, duplicates, find
from tidemill.plan.model import Plan
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
        files = _below(path.resolve(), place.dags) if path.is_dir() else [path.resolve()]
        if not files:
            raise UsageProblem(f"no spec below {path}: a spec is a YAML file with a top-level `tidemill: 1`")
        places[place.dags] = place
        asked.setdefault(place.dags, set()).update(files)
    for dags, together in asked.items():
        yield from _judged(sorted(together), places[dags])


def _below(folder: Path, dags: Path) -> list[Path]:
    """The specs below a folder. It is searched from the DAG folder, whose ignore files hold in it, too."""
    return [file for file, _ in find(dags) if file.is_relative_to(folder)]


def _judged(files: list[Path], place: Place) -> Iterator[tuple[Path, Verdict]]:
    root = place.project.root
    known = {file for file, _ in find(place.dags)} | set(files)
    twice = duplicates(sorted(known), root)
    for file in files:
        yield file, verdict_on(file, place, twice)


def verdict_on(file: Path, place: Place, twice: Mapping[Path, SpecError]) -> Verdict:
    """The verdict on one spec file; ``twice``: those that share their name with another one."""
    verdict = Verdict(errors=(twice[file],)) if file in twice else judge(file, place.dags, place.project)
    root = place.project.root
    return replace(verdict, errors=tuple(_from_here(error, root) for error in verdict.errors))


def _from_here(error: SpecError, root: Path) -> SpecError:
    """An error whose file is named as it is reached from the current folder, so that a terminal can open it.
    Elsewhere files are named from the project's root, which is where most people stand."""
    return replace(error, file=shown_as(root / error.file, Path.cwd()))


def plans_of(path: Path, row: str | None = None) -> tuple[tuple[Plan, ...], Path, Place]:
    """The plans of one spec file, the file, and where it belongs; ``row``: of its matrix, this one alone.

    Raises:
        SpecErrors: the file has mistakes; with ``row``, that row.
        UsageProblem: there is no such file, or no such row.
    """
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder; name one spec file in it")
    ((file, verdict),) = verdicts([path])
    if row is None:
        if verdict.errors:
            raise SpecErrors(verdict.errors)
        return verdict.plans, file, place_of(path)
    found = tuple(plan for plan in verdict.plans if plan.pipeline == f"{file.stem}.{row}")
    if not found and verdict.errors:
        raise SpecErrors(verdict.errors)
    if not found:
        raise UsageProblem(f'{path} has no row "{row}"; {_rows(verdict.plans)}')
    return found, file, place_of(path)


def plan_of(path: Path, row: str | None = None) -> tuple[Plan, Path, Place]:
    """As :func:`plans_of`, of a file that makes one pipeline.

    Raises:
        UsageProblem: the file makes several, and no row is named.
    """
    plans, file, place = plans_of(path, row)
    if row is None and "." in plans[0].pipeline:
        raise UsageProblem(f"{path} makes a pipeline for each row of its matrix; say which with --row; {_rows(plans)}")
    return plans[0], file, place


def _rows(plans: tuple[Plan, ...]) -> str:
    rows = [plan.pipeline.partition(".")[2] for plan in plans if "." in plan.pipeline]
    shown = ", ".join(rows[:20]) + (f" and {len(rows) - 20} more" if len(rows) > 20 else "")
    return f"its rows: {shown}" if rows else "it has no matrix"


def known_environments(results: Iterable[tuple[Path, Verdict]]) -> list[str]:
    """The environments that files have overlays for, those judged and those they inherit, in alphabetical order."""
    from tidemill.spec.reuse import environments_in

    files = {path for file, verdict in results for path in (file, *verdict.files) if path.suffix in SUFFIXES}
    return sorted({environment for file in files for environment in environments_in(file)})


def check_environment(name: str | None, results: Iterable[tuple[Path, Verdict]]) -> None:
    """Refuse an environment that no file knows, of those judged and those they inherit.

    Raises:
        UsageProblem: there is none of that name.
    """
    if name is None:
        return
    known = known_environments(results)
    if name not in known:
        listed = f"known: {', '.join(known)}" if known else "none has `environments:`"
        raise UsageProblem(f'no file knows the environment "{name}"; {listed}')


def as_json(results: list[tuple[Path, Verdict]]) -> dict[str, Any]:
    """What ``--json`` prints; ``docs/cli.md`` describes it."""
    return {
        "ok": not any(verdict.errors for _, verdict in results),
        "files": [
            {
                "file": str(file),
                "pipeline": file.stem,
                "ok": not verdict.errors,
                "dags": [dag.dag_id for plan in verdict.plans for dag in plan.dags],
                "errors": [error.to_json() for error in verdict.errors],
            }
            for file, verdict in results
        ],
    }


def unique_errors(results: list[tuple[Path, Verdict]]) -> list[SpecError]:
    """Every mistake once: one in ``defaults.yaml`` is found with each pipeline that inherits it."""
    return list(dict.fromkeys(error for _, verdict in results for error in verdict.errors))
