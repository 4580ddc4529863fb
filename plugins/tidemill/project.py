"""Where things are: the project's root and its state folder."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


def sqlite_url(file: Path | str) -> str:
    """SQLAlchemy's URL of a SQLite file. Since 2.1 it reads ``%20`` and ``?`` in a path for what they are in a URL."""
    return f"sqlite:///{quote(str(file), safe='/ ')}"


@dataclass(frozen=True)
class Project:
    """A project: ``root`` holds ``include/``; ``state`` is where Tidemill keeps what it must remember locally."""

    root: Path
    state: Path

    @classmethod
    def of(cls, dags: Path) -> Project:
        """The project that a DAG folder (a bundle's root) belongs to.

        The root is ``TIDEMILL_ROOT``, else the folder's parent if that holds ``include/``, else the folder
        itself; the state folder is ``TIDEMILL_STATE``, else ``.tidemill`` in the root.
        """
        dags = dags.resolve()
        named = os.environ.get("TIDEMILL_ROOT")
        root = Path(named).resolve() if named else dags.parent if (dags.parent / "include").is_dir() else dags
        state = os.environ.get("TIDEMILL_STATE")
        return cls(root, Path(state).resolve() if state else root / ".tidemill")

    def path(self, text: str) -> Path:
        """A path of a spec: absolute, or relative to the root."""
        return self.root / text

    def holds(self, path: Path) -> bool:
        """Whether a file lies in the project's folder when all links are followed."""
        return lies_in(path, self.root)

    def run_folder(self, dag_id: str, run_id: str) -> Path:
        """The folder of one DAG run. Run ids hold characters that file systems refuse, hence the digest."""
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", run_id)[:80]
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
        return self.state / "runs" / dag_id / f"{safe}-{digest}"


def lies_in(path: Path, *folders: Path) -> bool:
    """Whether a file lies in one of some folders when all links are followed."""
    real = os.path.realpath(path)
    return any(os.path.commonpath((real, root)) == root for root in map(os.path.realpath, folders))
