"""What a job left, moved to where the caller looks for it."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from tidemill.platforms.ports import PlatformError

_RESULT = ".tidemill/result.json"


def unpack(file: Path, uri: str, folder: Path) -> None:
    """Unpack a job's ``model.tar.gz`` into ``folder/output`` and its result record beside it.

    Raises:
        PlatformError: the archive is cut short, or holds what does not belong into a folder.
    """
    output = _empty(folder)
    try:
        with tarfile.open(file, "r:gz") as tar:
            # The filter refuses absolute names, names with .. and links that lead out.
            tar.extractall(output, filter="data")
    except tarfile.FilterError as e:
        raise PlatformError(f"{uri} holds what does not belong there: {e}", fault="user") from None
    except (tarfile.TarError, EOFError, OSError) as e:
        raise PlatformError(f"{uri} is half an output: {e}") from None
    settle(output, folder)


def settle(output: Path, folder: Path) -> None:
    """Move the result record out of a fetched output, to ``folder/output.result.json``."""
    result = output / _RESULT
    if result.is_file():
        os.replace(result, folder / "output.result.json")
    shutil.rmtree(result.parent, ignore_errors=True)


def _empty(folder: Path) -> Path:
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    (folder / "output.result.json").unlink(missing_ok=True)
    output.mkdir(parents=True)
    return output
