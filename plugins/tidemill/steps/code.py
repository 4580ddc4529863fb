"""Which code a model was trained with."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

_DIGITS = 12


def code_version(root: Path) -> str:
    """The version of the project's own code: SHA-256 over the paths and bytes of ``include/**/*.py``, 12 digits.

    It depends on nothing but these files, so it is the same in any checkout and with no git at all.
    """
    digest = hashlib.sha256()
    folder = root / "include"
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        if not path.is_file():
            continue
        data = path.read_bytes()
        # Lengths in between: without them two files could be read as one other.
        name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%d:" % (len(name), name, len(data)))
        digest.update(data)
    return digest.hexdigest()[:_DIGITS]


def git_commit(root: Path) -> str | None:
    """The commit that the project's folder is at, with ``+changes`` if files differ from it; ``None`` without
    git or a repository."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changes else commit


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True, text=True, timeout=10)
    return done.stdout.strip()
