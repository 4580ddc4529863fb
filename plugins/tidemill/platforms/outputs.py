"""What a job delivered (``tidemill.runtime.remote``), brought to where the caller looks for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tidemill.platforms.ports import PlatformError, Storage

SPECIAL = ".tidemill"


def fetch(storage: Storage, place: str, folder: Path) -> None:
    """Fetch a job's output from its address into ``folder/output``, and its result to ``folder/output.result.json``.

    Raises:
        PlatformError: the store does not answer, or holds half an output.
    """
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    (folder / "output.result.json").unlink(missing_ok=True)
    output.mkdir(parents=True)
    base = f"{place.rstrip('/')}/"
    for stored in storage.list(base):
        name = stored.uri.removeprefix(base)
        if ".." in name.split("/") or name.startswith("/"):
            raise PlatformError(f"{stored.uri} does not belong into a folder", fault="user")
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.get(stored.uri, target)
    settle(output, folder, place)


def settle(output: Path, folder: Path, place: str) -> None:
    """Check a fetched output against its own list of files, leave no other file (an earlier attempt's) in it, and move
    its result out. Without a result nothing else was delivered either, and the folder is emptied.

    Raises:
        PlatformError: a file is missing or cut short.
    """
    special = output / SPECIAL
    result = special / "result.json"
    try:
        sizes: dict[str, int] = json.loads((special / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if result.is_file():
            raise PlatformError(f"{place} is half an output: its list of files is missing or cut short") from None
        sizes = {}
    for name, size in sizes.items():
        file = output / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            said = "is missing" if found is None else f"has {found:,} of its {size:,} bytes"
            raise PlatformError(f"{place} is half an output: {name} {said}")
    for file in output.rglob("*"):
        if file.is_file() and special not in file.parents and file.relative_to(output).as_posix() not in sizes:
            file.unlink()
    if result.is_file():
        os.replace(result, folder / "output.result.json")
    shutil.rmtree(special, ignore_errors=True)
