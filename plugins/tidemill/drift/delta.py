"""The files of a Delta table, as of its latest version or of the one that a split names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tidemill.drift.errors import DriftError

if TYPE_CHECKING:
    from tidemill.drift.sources import File, Place


def delta_files(place: Place, path: str, uri: str, entries: Sequence[str] | None) -> list[File]:
    """The Parquet files of a table with their partition values; of some ``entries`` (version:path#groups), if given.

    Raises:
        DriftError: the package is missing, the table cannot be read, has no rows, or marks rows as deleted in files.
    """
    from tidemill.drift.sources import File, _named

    version = int(entries[0].partition(":")[0]) if entries else None
    table = _table(uri, version)
    found: dict[str, File] = {}
    actions = _rows(table.get_add_actions(flatten=True))
    for action in actions:
        if any(value is not None for name, value in action.items() if name.startswith("deletion_vector")):
            raise DriftError(
                f"{uri} marks rows as deleted without having rewritten its files. Rewrite them (in Spark: REORG TABLE "
                "… APPLY (PURGE)), then run again."
            )
        inner = unquote(action["path"])
        pairs = tuple((name[10:], value) for name, value in action.items() if name.startswith("partition."))
        found[inner] = File(path=f"{path}/{inner}", entry=f"{table.version()}:{inner}", partition=pairs)
    if entries is None:
        if not found:
            raise DriftError(f"{uri} is a Delta table without rows.")
        return [found[inner] for inner in sorted(found)]
    chosen = []
    for entry in entries:
        file = _named(f"{path}/", entry.partition(":")[2])
        inner = file.path.removeprefix(f"{path}/")
        if inner not in found:
            raise DriftError(f"{uri}: version {version} has no file {inner}.")
        chosen.append(File(path=file.path, entry=entry, partition=found[inner].partition, groups=file.groups))
    return chosen


def _table(uri: str, version: int | None) -> Any:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise DriftError(
            f"{uri} is a Delta table; reading it needs the package deltalake: pip install 'tidemill[delta]'."
        ) from None
    try:
        return DeltaTable(uri, version=version)
    except (DeltaError, OSError, ValueError) as error:
        raise DriftError(f"{uri} cannot be read as a Delta table: {str(error).partition(chr(10))[0]}") from None


def _rows(actions: Any) -> list[dict[str, Any]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = pa.table(actions).to_pylist()
    return rows
