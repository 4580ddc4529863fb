"""Data files made from the data of an installed package: found without importing it, written in one piece."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MADE_BY = "made_by"  # key of the Parquet file's own metadata


class PackageMissing(RuntimeError):
    """The package with the data is not installed, or is not the one this was written for."""


@dataclass(frozen=True)
class Prepared:
    """A Parquet file made from a package's data by ``table`` of the module ``code``."""

    output: Path
    package: str
    code: Path
    table: Callable[[], pl.DataFrame]

    def prepare(self, output: Path | None = None) -> int:
        """Write the file and return its number of rows; keep one that is up to date.

        It appears in one piece or not at all, and equal input gives equal bytes.

        Raises:
            PackageMissing: the package is not installed or lacks a file.
        """
        import polars as pl

        output, made_by = output or self.output, self._made_by()
        if _is_current(output, made_by):
            return int(pl.scan_parquet(output).select(pl.len()).collect().item())
        table = self.table()
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        os.close(handle)
        try:
            table.write_parquet(name, compression="zstd", row_group_size=65_536, metadata={MADE_BY: made_by})
            os.chmod(name, 0o644)
            os.replace(name, output)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return table.height

    def main(self, what: str) -> int:
        """Build the file and say so; 1 if the package is missing."""
        shown = self.output.relative_to(self.output.parents[2])
        started = time.monotonic()
        print(f"{shown}: {what} from {self.package} …", end=" ", flush=True)
        try:
            rows = self.prepare()
        except PackageMissing as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        print(f"{rows:,} rows, {time.monotonic() - started:.1f} s")
        return 0

    def _made_by(self) -> str:
        """What decides the file's bytes: the code, the package's version and the writer's version."""
        code = hashlib.sha256(self.code.read_bytes() + Path(__file__).read_bytes()).hexdigest()
        version = _package(self.package).version
        return f"{code} {self.package} {version} polars {importlib.metadata.version('polars')}"


def data_file(package: str, name: str) -> Path:
    """Where a data file of a package is, without importing the package: importing may need what is not installed.

    Raises:
        PackageMissing: the package is not installed, or has no such file.
    """
    found = _package(package)
    path = Path(str(found.locate_file(f"{package}/data/{name}")))
    if not path.is_file():
        raise PackageMissing(f"{package} {found.version} has no data/{name}: make clean, then make setup")
    return path


def _package(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise PackageMissing(f"the package {name} is not installed: run make setup") from None


def _is_current(path: Path, made_by: str) -> bool:
    import polars as pl

    try:
        return pl.read_parquet_metadata(path).get(MADE_BY) == made_by
    except (OSError, pl.exceptions.PolarsError):
        return False
