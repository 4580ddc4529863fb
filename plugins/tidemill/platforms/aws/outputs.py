"""What a SageMaker job left, unpacked to where the caller looks for it."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Final

from tidemill.platforms.ports import PlatformError

_SPECIAL: Final = ".tidemill"


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
            # The filter refuses absolute names, names with .. and links that lead out.
            tar.extractall(output, filter="data")
    except tarfile.FilterError as e:
        raise PlatformError(f"{uri} holds what does not belong into an output: {e}", fault="user") from None
    except (tarfile.TarError, EOFError, OSError) as e:
        raise PlatformError(f"{uri} is half an output: {e}") from None
    special = output / _SPECIAL
    _check(output, special / "files.json", uri)
    if (special / "result.json").is_file():
        os.replace(special / "result.json", folder / "output.result.json")
    shutil.rmtree(special, ignore_errors=True)


def _check(output: Path, listing: Path, uri: str) -> None:
    """Compare with the sizes that the job wrote down, if it came to that."""
    try:
        sizes: dict[str, int] = json.loads(listing.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError as e:
        raise PlatformError(f"{uri} is half an output: {_SPECIAL}/files.json: {e}") from None
    for name, size in sizes.items():
        file = output / name
        if not file.is_file() or file.stat().st_size != size:
            raise PlatformError(f"{uri} is half an output: {name} is not the {size} bytes that the job delivered")
