"""What a SageMaker job left, unpacked to where the caller looks for it."""

from __future__ import annotations

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
            # The filter refuses absolute names, names with .. and links that lead out.
            tar.extractall(output, filter="data")
    except tarfile.FilterError as e:
        raise PlatformError(f"{uri} holds what does not belong into an output: {e}", fault="user") from None
    except (tarfile.TarError, EOFError, OSError) as e:
        raise PlatformError(f"{uri} is half an output: {e}") from None
    settle(output, folder, uri)
