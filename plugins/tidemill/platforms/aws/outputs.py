"""What a SageMaker job left, unpacked to where the caller looks for it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from tidemill.platforms.delivered import settle
from tidemill.platforms.ports import PlatformError


def unpack(file: Path, uri: str, folder: Path) -> None:
    """Unpack a job's ``model.tar.gz`` into ``folder/output`` and its result record beside it, as
    ``folder/output.result.json``.

    Raises:
        PlatformError: the archive is cut short, holds what does not belong into a folder, or not what the job
            delivered.
    """
    output = folder / "output"
    try:
        with tarfile.open(file, "r:gz") as tar:
            for member in tar:
                _write(tar, member, output, uri)
    except (tarfile.TarError, EOFError, OSError) as e:
        raise PlatformError(f"{uri} is half an output: {e}") from None
    settle(output, folder, uri)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, output: Path, uri: str) -> None:
    """Write one member, within the output alone. A link becomes a copy of what it leads to in the archive.

    By hand, since the filters of ``tarfile`` are not there before Python 3.11.4, and Debian 12 has 3.11.2.
    """
    target = output / member.name
    if not target.resolve().is_relative_to(output.resolve()):
        raise PlatformError(f"{uri} holds what does not belong into an output: {member.name}", fault="user")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    try:
        content = tar.extractfile(member)
    except KeyError:  # a link to what is not in the archive
        content = None
    if content is None:
        raise PlatformError(f"{uri} holds what does not belong into an output: {member.name}", fault="user")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, open(target, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
