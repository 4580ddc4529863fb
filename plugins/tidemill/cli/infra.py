"""``tidemill infra``: Terraform for exactly what specs use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.cli.locate import UsageProblem, place_of
from tidemill.cli.validate import unique_errors, verdicts
from tidemill.infra.needs import Needs, needs_of
from tidemill.infra.needs import Place as Where
from tidemill.infra.written import Changes
from tidemill.plan.model import Plan
from tidemill.spec.errors import SpecErrors
from tidemill.spec.load import Sources, load_pipelines


def needs_at(paths: list[Path]) -> Needs:
    """What the specs at some paths need.

    Raises:
        SpecErrors: one of them has mistakes.
        UsageProblem: there is no such path, or no spec.
        InfraProblem: they are of several providers, or of none.
    """
    results = list(verdicts(paths))
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

    return needs_of(plans())


def _place(sources: Sources, path: tuple[str | int, ...]) -> tuple[str, int]:
    file, line, _ = sources.place(path, key=True)
    return file, line


def infra(paths: list[Path], output: Path, prefix: str, *, force: bool, check: bool) -> tuple[Needs, Changes]:
    """Write the root into a folder, or with ``check`` tell what would change.

    Raises:
        SpecErrors, UsageProblem, InfraProblem: as ``needs_at``; or files were changed by hand, or cannot be written.
    """
    from tidemill.infra.generate import files_of
    from tidemill.infra.names import PREFIX
    from tidemill.infra.written import compare, write

    if not PREFIX.fullmatch(prefix):
        raise UsageProblem(f'--prefix "{prefix}": 2 to 32 characters of a-z, 0-9 and -, beginning with a letter')
    if output.exists() and not output.is_dir():
        raise UsageProblem(f"{output} is a file; --output names a folder")
    needs = needs_at(paths)
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
