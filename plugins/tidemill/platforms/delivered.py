"""What a job delivered to a store, fetched to where the caller looks for it.

A container that mounts nothing delivers by address (:mod:`tidemill.runtime.remote`): its output, then
``.tidemill/files.json`` with the size of each file, and as the last ``.tidemill/result.json``.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Final

from tidemill.platforms.ports import PlatformError, Storage

_SPECIAL: Final = ".tidemill"


def collect(storage: Storage, address: str, folder: Path) -> None:
    """Fetch the output below an address into ``folder/output`` and the result record beside it, as
    ``folder/output.result.json``. Without a record nothing is fetched: the job did not come to delivering.

    Raises:
        PlatformError: the store does not answer, or what it holds is not what the job delivered.
    """
    output, record = folder / "output", folder / "output.result.json"
    shutil.rmtree(output, ignore_errors=True)
    record.unlink(missing_ok=True)
    output.mkdir(parents=True)
    base = address.rstrip("/")
    there = {stored.uri.removeprefix(f"{base}/"): stored.size for stored in storage.list(base)}
    if f"{_SPECIAL}/result.json" not in there:
        return
    for name, size in _listed(storage, base, folder).items():
        if there.get(name) != size:
            held = "is missing" if name not in there else f"has {there[name]} bytes"
            raise PlatformError(f"{base} holds half an output: {name} {held}, the job delivered {size} bytes")
        target = output / name
        if not target.resolve().is_relative_to(output.resolve()):
            raise PlatformError(f"{base}/{name} does not belong into an output", fault="user")
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.get(f"{base}/{name}", target)
    partly = folder / ".result.json"
    storage.get(f"{base}/{_SPECIAL}/result.json", partly)
    os.replace(partly, record)


def _listed(storage: Storage, base: str, folder: Path) -> dict[str, int]:
    """The sizes that the job wrote down."""
    file = folder / ".files.json"
    try:
        storage.get(f"{base}/{_SPECIAL}/files.json", file)
        sizes: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as e:
        raise PlatformError(f"{base}/{_SPECIAL}/files.json is not what a job delivers: {e}") from None
    finally:
        file.unlink(missing_ok=True)
    return sizes


def settle(output: Path, folder: Path, place: str) -> None:
    """Check a fetched output against its own list of files, leave no other file (an earlier attempt's) in it, and move
    its result out. Without a result nothing else was delivered either, and the folder is emptied.

    Raises:
        PlatformError: a file is missing or cut short.
    """
    special = output / _SPECIAL
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
