"""Which project a path on the command line belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import TidemillError
from tidemill.project import Project

LOADER = "tidemill.py"


class UsageProblem(TidemillError):
    """What was typed cannot be done; the message says what to do instead."""


@dataclass(frozen=True)
class Place:
    """A spec file's DAG folder (where the inheritance of defaults ends) and its project."""

    dags: Path
    project: Project


def place_of(path: Path) -> Place:
    """The DAG folder and project of a spec file or folder.

    The DAG folder is the nearest folder upwards that is called ``dags`` or holds the loader, else the folder
    itself. Its project is found as Airflow finds it; a folder outside of any project belongs to the one that
    the command was started in.
    """
    start = path.resolve()
    folder = start if start.is_dir() else start.parent
    marked = (f for f in (folder, *folder.parents) if f.name == "dags" or (f / LOADER).is_file())
    dags = next(marked, folder)
    project = Project.of(dags)
    here = Path.cwd().resolve()
    if not (project.root / "include").is_dir() and (here / "include").is_dir() and "TIDEMILL_ROOT" not in os.environ:
        state = project.state if "TIDEMILL_STATE" in os.environ else here / ".tidemill"
        project = Project(here, state)
    return Place(dags, project)


def folder_here() -> Path:
    """The nearest folder upwards that holds ``dags`` or ``include``, else the one the command was started in."""
    here = Path.cwd().resolve()
    folders = (f for f in (here, *here.parents) if (f / "dags").is_dir() or (f / "include").is_dir())
    return next(folders, here)


def project_here() -> Project:
    """The project that the command was started in."""
    return Project.of(folder_here() / "dags")


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        UsageProblem: there is nothing at it.
    """
    if not path.exists():
        raise UsageProblem(f"there is no {path}")
    return path
