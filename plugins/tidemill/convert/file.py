"""Whole files: which DAGs they hold, what is laid under them, and the spec of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.convert.dag import spec_of
from tidemill.convert.model import Conversion, Converted, Item, Items, Note
from tidemill.convert.source import joined, load, merged
from tidemill.convert.write import to_yaml
from tidemill.project import Project
from tidemill.spec.load import shown_as

DEFAULTS = ("defaults.yml", "defaults.yaml")
"""What dag-factory lays under the DAGs of a folder; the first that is there."""
_SYSTEM = frozenset({"default", "task_groups"})
_STEM = re.compile(r"[A-Za-z0-9_-]{1,200}")
_APART = ("schedule", "params", "defaults", "doc_md", "steps")


def convert(file: Path, to: Path, dags: Path, project: Project) -> tuple[list[Converted], list[Note]]:
    """The specs of a file's DAGs, and what could not become one. Nothing is written.

    ``to``: the folder in which the specs will stand; ``dags``: its DAG folder. That of the file itself, at which
    its defaults begin, is the nearest one upwards called ``dags``, else the file's own.

    Raises:
        SpecErrors: the file, or its defaults, cannot be read safely.
        OSError: one of them cannot be opened.
    """
    shown = shown_as(file.resolve(), Path.cwd())
    folder = file.resolve().parent
    home = next((place for place in (folder, *folder.parents) if place.name == "dags"), folder)
    items = load(file, shown)
    if file.name in DEFAULTS:
        message = "its values are laid under those of each DAG, in each spec"
        return [], [Note(shown, 1, 1, "", message, lost=False)]
    above = _defaults_above(file.resolve(), home)
    default = _default_block(items, above)
    made: list[Converted] = []
    notes: list[Note] = []
    for dag_id, item in items.items():
        if dag_id in _SYSTEM:
            continue
        if not isinstance(item.value, dict):
            notes.append(_note(item, dag_id, "this is no DAG", "write its settings below"))
        elif not _STEM.fullmatch(dag_id) or dag_id == "defaults":
            message = f'"{dag_id}" cannot be the name of a spec file, which is the DAG\'s id'
            notes.append(_note(item, dag_id, message, 'rename the DAG: letters, digits, "_" and "-"'))
        else:
            below = {key: value for key, value in above.items() if key != "default_args"}
            together = joined(item.at(merged({**below, **item.value}, default)))
            conversion = Conversion(folder, home, project)
            one = _one(dag_id, together, file, to / f"{dag_id}.yaml", conversion)
            made.append(replace(one, errors=tuple(_errors(one, dags, project))))
    return made, notes


def _note(item: Item, path: str, message: str, hint: str) -> Note:
    return Note(item.file, item.line, item.column, path, message, hint)


def _defaults_above(file: Path, home: Path) -> Items:
    """What dag-factory's files of defaults say, from the DAG folder down to the file's own."""
    folders = [f for f in file.parents if f.is_relative_to(home)]
    found: Items = {}
    for place in reversed(folders):
        path = next((place / name for name in DEFAULTS if (place / name).is_file()), None)
        if path is None or path == file:
            continue
        for key, item in load(path, shown_as(path, Path.cwd())).items():
            own = found.get(key)
            if (
                key == "default_args"
                and own is not None
                and isinstance(own.value, dict)
                and isinstance(item.value, dict)
            ):
                found[key] = item.at({**own.value, **item.value})
            elif key == "tags" and own is not None and isinstance(own.value, list) and isinstance(item.value, list):
                together = {one.text: one for one in (*own.value, *item.value)}
                found[key] = item.at([together[name] for name in sorted(together)])
            elif key != "tidemill":
                found[key] = item
    return found


def _default_block(items: Items, above: Items) -> Items:
    """The values below ``default:``, with the ``default_args`` of the files of defaults under them."""
    item = items.get("default")
    found: Items = dict(item.value) if item is not None and isinstance(item.value, dict) else {}
    general, own = above.get("default_args"), found.get("default_args")
    if general is not None and isinstance(general.value, dict):
        base = own.value if own is not None and isinstance(own.value, dict) else {}
        found["default_args"] = general.at({**general.value, **base})
    return found


def _one(dag_id: str, item: Item, file: Path, target: Path, conversion: Conversion) -> Converted:
    spec = spec_of(item, conversion)
    heading = [f"Converted from {file.name}, where dag-factory called it {dag_id}."]
    lost = [note for note in conversion.notes if note.lost]
    if lost:
        heading += ["", "Not carried over:"]
        heading += [f"- line {n.line}: {' '.join(n.message.split())}" for n in sorted(lost, key=lambda n: n.line)]
    if conversion.allow:
        heading += ["", "Needs the setting `allow` in [tidemill] for:", *(f"- {name}" for name in conversion.allow)]
    text = to_yaml(spec, conversion.comments, heading, _APART)
    return Converted(dag_id, target, text, spec, tuple(conversion.notes), tuple(conversion.allow))


def _errors(made: Converted, dags: Path, project: Project) -> Iterator[Any]:
    """What the checks say of the spec, but for the names that only need the setting ``allow``."""
    from tidemill.verdict import judge

    needed = [f'"{name}" may not be named in a spec' for name in made.allow]
    for error in judge(made.file, dags, project, made.text.encode()).errors:
        if not any(error.message.startswith(one) for one in needed):
            yield error
