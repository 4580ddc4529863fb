"""The log of predictions: where it lies, how a part of it becomes whole at once, and how it is read.

``<output>/as_of=<instant>/part-NNNNN.parquet``: a folder an instant, all of whose files were made by one version on
the same rows. A folder is put in place as a whole, and one that is put in another's place has other file names, so
that a reader who listed the old ones finds them or nothing, and never a mix.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.locks import Taken, held
from tidemill.spec.monitoring import PROBABILITY
from tidemill.steps.context import StepContext, StepError

if TYPE_CHECKING:
    import polars as pl

    from tidemill.tools.predictor import Label

_FOLDER = "as_of="
# Without colons, which Hadoop's readers do not take in a path.
_INSTANT = "%Y%m%dT%H%M%S"
_KEY = b"tidemill"
_TRIES = 3
_AT_ONCE = 1 << 18
_EXCHANGE = 2


@dataclass(frozen=True)
class Header:
    """What every file of one folder says of it, in its Parquet metadata. ``id`` is the same for the same predictions:
    of one version, for the same rows, in batches of the same size."""

    id: str
    pipeline: str
    model: str
    version: str
    data_version: str
    as_of: str
    start: str
    end: str
    rows: int
    parts: int
    classes: list[Label] | None = None

    def to_metadata(self) -> dict[bytes, bytes]:
        """The header as Parquet keeps it."""
        return {_KEY: json.dumps(asdict(self), ensure_ascii=False).encode()}

    @classmethod
    def of(cls, file: Path) -> Header:
        """The header of a file.

        Raises:
            FileNotFoundError: it is gone.
            StepError: it is no file of a log, or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            found = (pq.read_schema(file).metadata or {}).get(_KEY)
            return cls(**json.loads(found or b"null"))
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError, TypeError) as e:
            raise StepError(
                f"{file} is no whole file of a prediction log: remove the folder {file.parent.name} and run the score "
                "for that as_of again"
            ) from e


@dataclass(frozen=True)
class Logged:
    """The predictions of one version for the rows of a window: its frame has the key, the time, what `score.columns`
    names, ``prediction``, and ``probability_…`` for each of ``classes``.

    ``others``: how many rows other versions scored. ``ambiguous``: rows that share their key with another one.
    """

    frame: pl.DataFrame
    version: str
    classes: list[Label] | None
    others: dict[str, int]
    ambiguous: int


@dataclass(frozen=True)
class Log:
    """The log of a pipeline, in ``folder``."""

    folder: Path
    pipeline: str
    model: str

    @classmethod
    def of(cls, ctx: StepContext) -> Log | None:
        """The log of a context's pipeline; ``None`` if it has no section `score`."""
        score = ctx.spec.score
        if score is None:
            return None
        default = ctx.project.state / "predictions" / ctx.pipeline
        return cls(ctx.project.path(score.output) if score.output else default, ctx.pipeline, ctx.model)

    def partition(self, as_of: datetime) -> Path:
        """The folder of an instant."""
        return self.folder / f"{_FOLDER}{written(as_of)}"

    def staging(self, as_of: datetime) -> Path:
        """Where the files of an instant are made: beside the log, as readers of the whole log would find them in it."""
        return self.folder.parent / f".{self.folder.name}.staging" / written(as_of)

    @contextlib.contextmanager
    def alone(self, as_of: datetime) -> Iterator[None]:
        """One process at a time makes the files of an instant, on this machine.

        Raises:
            StepError: another does (``retry``), or the folder cannot be made.
        """
        place = self.staging(as_of)
        with contextlib.ExitStack() as stack:
            with roomy(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                place.parent.mkdir(exist_ok=True)
                try:
                    stack.enter_context(held(place.parent / f"{place.name}.lock"))
                except Taken:
                    raise StepError("another run is scoring this as_of on this machine", retry=True) from None
            yield

    def header(self, as_of: datetime) -> Header | None:
        """What the log has for an instant; ``None`` if it has nothing.

        Raises:
            StepError: it holds what is no file of a log, or is not whole.
        """
        return _header(self.partition(as_of))

    def check_owner(self) -> None:
        """Refuse a folder in which another pipeline keeps its predictions.

        Raises:
            StepError: it is another's.
        """
        headers = (_first(folder) for _, folder in self._partitions(None))
        known = next((header for header in headers if header is not None), None)
        if known is not None and known.pipeline != self.pipeline:
            raise StepError(
                f"{self.folder} is the log of the pipeline {known.pipeline!r}: give {self.pipeline!r} a "
                "`score.output` of its own"
            )

    def publish(self, as_of: datetime) -> None:
        """Put the files that were made for an instant in their place, instead of those that are there."""
        staged, final = self.staging(as_of), self.partition(as_of)
        with roomy(self.folder):
            _sync(staged)
            if final.exists():
                _exchange(staged, final)
                shutil.rmtree(staged)
            else:
                staged.rename(final)
            _sync(self.folder)

    def first_number(self, as_of: datetime) -> int:
        """The number of an instant's first new file: none is used twice in a folder."""
        taken = [int(file.stem.rpartition("-")[2]) for file in _files(self.partition(as_of))]
        return max(taken, default=-1) + 1

    def read(
        self, column: str, start: datetime, end: datetime, *, until: datetime, key: Sequence[str]
    ) -> Logged | None:
        """What was predicted for the rows with ``start`` <= ``column`` < ``end``; ``None`` if that is nothing.

        Predictions of runs later than ``until`` are not known yet. Of several for one row the earliest counts: it was
        made by a model that did not know the row. Of several versions the one that scored the last rows is judged.

        Raises:
            StepError: a file is damaged, or a folder is not whole.
        """
        import polars as pl

        found: list[pl.DataFrame] = []
        classes: dict[str, list[Label] | None] = {}
        for as_of, folder, _ in self.about(start, end, until=until):
            header, frame = _read(folder, column, start, end)
            if not frame.is_empty():
                classes[header.version] = header.classes
                found.append(frame.with_columns(pl.col("model_version").cast(pl.String), as_of=pl.lit(as_of)))
        if not found:
            return None
        return _judged(pl.concat(found, how="diagonal_relaxed"), column, key, classes)

    def about(self, start: datetime, end: datetime, *, until: datetime) -> Iterator[tuple[datetime, Path, Header]]:
        """The instants up to ``until`` whose predictions are of rows of a span: their folders and first headers.

        Raises:
            StepError: a file is damaged.
        """
        for as_of, folder in self._partitions(until):
            header = _first(folder)
            if header is None or (header.pipeline, header.model) != (self.pipeline, self.model):
                continue
            if datetime.fromisoformat(header.start) < end and start < datetime.fromisoformat(header.end):
                yield as_of, folder, header

    def _partitions(self, until: datetime | None) -> list[tuple[datetime, Path]]:
        folders = ((read_instant(path.name), path) for path in self.folder.glob(f"{_FOLDER}*") if path.is_dir())
        known = [(as_of, path) for as_of, path in folders if as_of is not None]
        return sorted((as_of, path) for as_of, path in known if until is None or as_of <= until)


def written(instant: datetime) -> str:
    """An instant as the log writes it: ``20130701T000000Z``."""
    instant = instant.astimezone(UTC)
    return instant.strftime(_INSTANT) + (f".{instant.microsecond:06}" if instant.microsecond else "") + "Z"


def read_instant(text: str) -> datetime | None:
    """The instant that a folder's name says; ``None`` if it says none."""
    for form in (f"{_FOLDER}{_INSTANT}Z", f"{_FOLDER}{_INSTANT}.%fZ"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC)
    return None


def probability(label: Label) -> str:
    """The column that holds a class's probability."""
    return f"{PROBABILITY}{label}"


@contextlib.contextmanager
def roomy(folder: Path) -> Iterator[None]:
    """What writes to the log's disk. Raises StepError (``retry``) if that is full, or fails."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full: make room on it, or set score.output to a folder on another one"
        else:
            why = f"{e.strerror or e}; make that possible, or set score.output to another folder"
        raise StepError(
            f"predictions cannot be written to {folder}: {why}. What is done is kept: run this task again.", retry=True
        ) from e


def _judged(frame: pl.DataFrame, column: str, key: Sequence[str], classes: dict[str, list[Label] | None]) -> Logged:
    import polars as pl

    ambiguous = 0
    if key:
        frame = frame.filter(pl.col("as_of") == pl.col("as_of").min().over(key))
        alone = ~pl.struct(key).is_duplicated()
        single = frame.filter(alone)
        ambiguous, frame = frame.height - single.height, single
    if frame.is_empty():  # no key is one row's alone: nothing can be judged, and that is said
        version = next(iter(classes))
        return Logged(frame, version, classes[version], {}, ambiguous)
    # The last to come of the latest instant, where versions overlap in time.
    version = str(frame.sort(column, "as_of", maintain_order=True)["model_version"][-1])
    others = frame.filter(pl.col("model_version") != version)["model_version"].value_counts(sort=True)
    return Logged(
        frame.filter(pl.col("model_version") == version).drop("as_of"),
        version,
        classes[version],
        dict(others.iter_rows()),
        ambiguous,
    )


def _read(folder: Path, column: str, start: datetime, end: datetime) -> tuple[Header, pl.DataFrame]:
    """A folder's rows of a window. One that is replaced meanwhile is read again."""
    import polars as pl

    from tidemill.tools import source

    for attempt in range(_TRIES):
        before = _header(folder)
        try:
            parts = list(source.batches(folder, column, start, end, _AT_ONCE))
        except StepError:
            if attempt + 1 == _TRIES or _header(folder) == before:
                raise
            continue
        if before is not None and _header(folder) == before:
            return before, pl.concat(parts) if parts else source.scan(folder).head(0).collect()
    raise StepError(f"{folder} is written again and again while it is read", retry=True)


def _header(folder: Path) -> Header | None:
    """What a folder's files say together."""
    wrong = ""
    for _ in range(_TRIES):
        files = _files(folder)
        if not files:
            return None
        try:
            headers = [Header.of(file) for file in files]
        except FileNotFoundError:
            continue  # it was replaced just now
        if all(header == headers[0] for header in headers) and len(files) == headers[0].parts:
            return headers[0]
        wrong = f"it has {len(files)} files, {headers[0].parts} belong to its first"
    raise StepError(f"{folder} is not whole ({wrong}): remove it and run the score for that as_of again")


def _first(folder: Path) -> Header | None:
    for _ in range(_TRIES):
        files = _files(folder)
        if not files:
            return None
        with contextlib.suppress(FileNotFoundError):
            return Header.of(files[0])
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _sync(folder: Path) -> None:
    """Make the names in a folder as lasting as their files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change places, at once where the file system can (renameat2, Linux), else in two moves."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD
        if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE) == 0:
            return
    old = one.with_name(f"{one.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    other.rename(old)
    one.rename(other)
    old.rename(one)
