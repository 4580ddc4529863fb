"""``tidemill infra``: Terraform for exactly what specs use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.cli.locate import UsageProblem, place_of
from tidemill.cli.validate import check_environment, known_environments, unique_errors, verdicts
from tidemill.infra.elsewhere import at_place
from tidemill.infra.needs import Needs, needs_of
from tidemill.infra.needs import Place as Where
from tidemill.infra.written import Changes
from tidemill.plan.model import Plan
from tidemill.settings import ENVIRONMENT
from tidemill.settings import environment as chosen_environment
from tidemill.spec.errors import SpecErrors
from tidemill.spec.load import Sources, load_pipelines
from tidemill.verdict import Verdict

if TYPE_CHECKING:
    from tidemill.infra.against import Disagreement


def needs_at(paths: list[Path], place: int | None = None) -> Needs:
    """What the specs at some paths need in the environment that is chosen; ``place``: at this one of the other places
    where they may train, from 1.

    Raises:
        SpecErrors: one of them has mistakes.
        UsageProblem: there is no such path, or no spec.
        InfraProblem: they are of several providers, or of none, or have no such place.
    """
    return needs_in(list(verdicts(paths)), place)


def needs_in(results: list[tuple[Path, Verdict]], place: int | None = None) -> Needs:
    """As ``needs_at``, of specs that were judged."""
    errors = unique_errors(results)
    if errors:
        raise SpecErrors(errors)

    def plans() -> Iterator[tuple[Plan, Where]]:
        for file, verdict in results:
            place = place_of(file)
            found = load_pipelines(file, place.dags, place.project.root)
            for plan in verdict.plans:
                row = plan.pipeline.removeprefix(f"{file.stem}.") if found.rows is not None else None
                yield plan, partial(_place, found.sources(row))

    needs = needs_of(plans(), chosen_environment())
    return needs if place is None else at_place(needs, place)


def check_name(environment: str | None, paths: list[Path]) -> None:
    """Refuse an environment that no spec knows though others are known. Where no spec has overlays, any name is one:
    what differs is in the values that are set for its root.

    Raises:
        UsageProblem: there is none of that name, or it is none.
    """
    results = list(verdicts(paths))
    if known_environments(results):
        check_environment(environment, results)
    if environment is not None and not ENVIRONMENT.fullmatch(environment):
        raise UsageProblem(
            f'--environment "{environment}": at most 23 letters, digits, "_" and "-", that begin with a letter and end '
            "with a letter or digit"
        )


def prefix_of(environment: str | None, place: int | None) -> str:
    """What names begin with that no spec says, unless a person says so."""
    told = ("tidemill", (environment or "").lower().replace("_", "-"), f"place-{place}" if place is not None else "")
    return "-".join(filter(None, told))


def disagreements_of(results: list[tuple[Path, Verdict]], folder: Path, outputs: Path | None) -> list[Disagreement]:
    """Where specs that have no mistakes and their infrastructure disagree.

    Raises:
        InfraProblem: the folder is no root of theirs, or something there cannot be read.
    """
    from tidemill.infra.against import disagreements

    return disagreements(needs_in(results), folder, outputs)


def disagreements_as_json(folder: Path, found: list[Disagreement]) -> dict[str, Any]:
    """What ``tidemill validate --against --json`` prints besides the verdicts."""
    told = {"against": str(folder), "disagreements": [one.to_json() for one in found]}
    return told | {"ok": False} if found else told


def _place(sources: Sources, path: tuple[str | int, ...]) -> tuple[str, int]:
    file, line, _ = sources.place(path, key=True)
    return file, line


def infra(
    paths: list[Path], output: Path, prefix: str | None, *, place: int | None = None, force: bool, check: bool
) -> tuple[Needs, Changes]:
    """Write the root into a folder, or with ``check`` tell what would change.

    Raises:
        SpecErrors, UsageProblem, InfraProblem: as ``needs_at``; or files were changed by hand, or cannot be written.
    """
    from tidemill.infra.generate import files_of
    from tidemill.infra.names import PREFIX
    from tidemill.infra.written import compare, write

    prefix = prefix_of(chosen_environment(), place) if prefix is None else prefix
    if not PREFIX.fullmatch(prefix):
        raise UsageProblem(f'--prefix "{prefix}": 2 to 32 characters of a-z, 0-9 and -, beginning with a letter')
    if output.exists() and not output.is_dir():
        raise UsageProblem(f"{output} is a file; --output names a folder")
    needs = needs_at(paths, place)
    files = files_of(needs, prefix)
    return needs, compare(output, files) if check else write(output, files, force=force)


def as_json(needs: Needs, output: Path, changes: Changes) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "provider": needs.provider,
        "pipelines": [pipeline.name for pipeline in needs.pipelines],
        "output": str(output),
        **changes.to_json(),
    }


def report(needs: Needs, output: Path, changes: Changes) -> Iterator[str]:
    """What a person is told of what was written."""
    count = len(needs.pipelines)
    of = f"{needs.provider}, {count} pipeline{'' if count == 1 else 's'}"
    if changes.none:
        yield f"{output}: nothing to change ({of})"
        return
    for word, paths in (("wrote", [*changes.new, *changes.changed, *changes.edited]), ("removed", changes.stale)):
        yield from (f"{word} {output / path}" for path in paths)
    yield f"\n{of}; {output / 'README.md'} says what is created, and how to apply it"
