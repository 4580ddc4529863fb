"""``tidemill convert``: dag-factory's files to specs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidemill.cli.locate import Place, UsageProblem, existing, place_of
from tidemill.convert.model import Converted, Note
from tidemill.project import Project
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.load import shown_as


@dataclass
class Outcome:
    """What came of some files: the specs, those of them that were written, what was not carried over, and files that
    could not be read."""

    made: list[Converted] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    unread: list[SpecError] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether everything was carried over, and is valid."""
        lost = any(note.lost for note in self.notes)
        return not (lost or self.unread or self.kept or any(one.errors for one in self.made))

    @property
    def allow(self) -> list[str]:
        """The names that the setting ``allow`` must hold."""
        return list(dict.fromkeys(name for one in self.made for name in one.allow))


def convert_files(files: list[Path], to: Path | None, *, force: bool) -> Outcome:
    """Convert files, and write a spec for each of their DAGs. What cannot be carried over is part of the outcome.

    Raises:
        UsageProblem: a path is none of a file, or a spec cannot be written.
    """
    from tidemill.convert.file import convert

    outcome = Outcome()
    here = Path.cwd()
    for file in files:
        if existing(file).is_dir():
            raise UsageProblem(f"{file} is a folder; name the files, e.g. {file}/*.yml")
        folder = (to or file.parent).resolve()
        place = place_of(folder) if folder.is_dir() else Place(folder, Project.of(folder))
        # Specs that are put aside are judged in the project that they come from.
        at_home = (place.project.root / "include").is_dir() and folder.is_relative_to(place.project.root)
        project = place.project if at_home else place_of(file).project
        try:
            made, notes = convert(file, folder, place.dags, project)
        except SpecErrors as e:
            outcome.unread += e.errors
            continue
        except OSError as e:
            outcome.unread.append(SpecError(shown_as(file.resolve(), here), 1, 1, "", f"cannot be read: {e.strerror}"))
            continue
        outcome.notes += [*notes, *(note for one in made for note in one.notes)]
        for one in made:
            outcome.made.append(replace(one, errors=tuple(_from_here(error, project.root) for error in one.errors)))
            _write(one, outcome, force=force)
    return outcome


def _from_here(error: SpecError, root: Path) -> SpecError:
    """An error whose file is named as it is reached from the current folder."""
    return replace(error, file=shown_as(root / error.file, Path.cwd()))


def _write(one: Converted, outcome: Outcome, *, force: bool) -> None:
    if one.file in outcome.written:
        message = "two of these files have a DAG of this id"
        outcome.notes.append(Note(str(one.file.name), 1, 1, one.dag_id, message, "rename one of them"))
        return
    if one.file.exists() and not force:
        outcome.kept.append(one.file)
        return
    try:
        one.file.parent.mkdir(parents=True, exist_ok=True)
        one.file.write_text(one.text, encoding="utf-8")
    except OSError as e:
        raise UsageProblem(f"cannot write {one.file}: {e.strerror}") from e
    outcome.written.append(one.file)


def report(outcome: Outcome) -> Iterator[str]:
    """What a person is told, line by line."""
    here = Path.cwd()
    for path in outcome.written:
        yield f"wrote {shown_as(path, here)}"
    for path in outcome.kept:
        yield f"kept {shown_as(path, here)}, which is there already: --force writes over it, --to elsewhere"
    if outcome.unread:
        yield from ("", "cannot be read:", SpecErrors(outcome.unread).render())
    for lost, title in ((True, "not carried over:"), (False, "worth knowing:")):
        notes = _sorted(note for note in outcome.notes if note.lost is lost)
        if notes:
            yield from ("", title, *map(_line, notes))
    for one in outcome.made:
        if one.errors:
            yield from ("", f"mistakes in {shown_as(one.file, here)}:", SpecErrors(one.errors).render())
    if outcome.allow:
        yield from ("", "these names need the setting `allow` of [tidemill], here and where Airflow runs:")
        yield f"  AIRFLOW__TIDEMILL__ALLOW='{' '.join(outcome.allow)}'"
    count, lost_count = len(outcome.made), len(_sorted(note for note in outcome.notes if note.lost))
    yield ""
    if outcome.whole:
        yield f"{_dags(count)} converted; everything was carried over"
    else:
        found = [f"{lost_count} not carried over"] if lost_count else []
        found += [f"{len(outcome.unread)} unreadable"] if outcome.unread else []
        wrong = sum(len(one.errors) for one in outcome.made)
        found += [f"{wrong} to correct in what was written"] if wrong else []
        found += [f"{len(outcome.kept)} not written"] if outcome.kept else []
        yield f"{_dags(count)} converted; {', '.join(found)}"


def _dags(count: int) -> str:
    return f"{count} DAG{'' if count == 1 else 's'}"


def _sorted(notes: Iterator[Note]) -> list[Note]:
    return sorted(dict.fromkeys(notes), key=lambda note: (note.file, note.line, note.column))


def _line(note: Note) -> str:
    hint = f"; {note.hint}" if note.hint else ""
    return f"  {note.file}:{note.line}:{note.column}: {note.path}: {note.message}{hint}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome for machines."""

    def listed(lost: bool) -> list[dict[str, Any]]:
        found = _sorted(note for note in outcome.notes if note.lost is lost)
        keys = ("file", "line", "column", "path", "message", "hint")
        return [{key: getattr(note, key) for key in keys} for note in found]

    return {
        "specs": [
            {
                "dag_id": one.dag_id,
                "file": str(one.file),
                "written": one.file in outcome.written,
                "errors": [error.to_json() for error in one.errors],
            }
            for one in outcome.made
        ],
        "not_carried_over": listed(True),
        "worth_knowing": listed(False),
        "unreadable": [error.to_json() for error in outcome.unread],
        "allow": outcome.allow,
        "whole": outcome.whole,
    }
