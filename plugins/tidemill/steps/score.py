"""The champion over the rows of a window, kept as a log of predictions.

The rows are read twice: once for their hash, which every prediction carries as its data version, and once to be
scored, batch by batch; a batch that is not what was hashed shows that the source changed meanwhile. Only a few batches
are in memory at a time. A batch that is done is a file that a retry keeps.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import PROMOTION, ROLLBACK, SCORING, champion
from tidemill.records import Scoring
from tidemill.spec.monitoring import PREDICTED, Score
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.ledger_io import record
from tidemill.steps.predictions import Header, Log, probability, roomy, written
from tidemill.steps.scoring import in_order
from tidemill.steps.window import window_of

if TYPE_CHECKING:
    import polars as pl

    from tidemill.tools.predictor import Label, Predictor

_COMPRESSION = "zstd"
_FORMAT = 1
"""The form of the log: another one makes other files."""


def run(ctx: StepContext) -> Scoring:
    """Score the window's rows with the champion in force at ``as_of`` and put the files in their place, all at once.

    What the log holds already, of the same version for the same rows, is not made again.

    Raises:
        StepSkipped: no champion is in force.
        StepError: the window is empty; the source cannot be read, lacks a column, or changes meanwhile (``retry``);
            the model cannot be loaded or fails; the files cannot be written (``retry``).
    """
    settings, log = ctx.spec.score, Log.of(ctx)
    if settings is None or log is None:
        raise StepError("the spec has no score section")
    start, end = window_of(ctx, settings)
    instant = ctx.as_of.instant
    with ctx.open_ledger() as ledger:
        in_force = champion(ledger.entries(ctx.model, kinds={PROMOTION, ROLLBACK}), at=instant)
    if in_force is None:
        raise StepSkipped(f"no champion is in force at {format_instant(instant)}: there is nothing to score with")
    version = str(in_force.body["version"])
    rows = _Rows.of(ctx, settings, start, end)
    with log.alone(instant):
        log.check_owner()
        digests = rows.digests()
        wanted = _header(ctx, settings, rows, version, digests)
        there = _whole(ctx, log, instant)
        if there is not None and there.id == wanted.id:
            ctx.log.info("version %s has scored these rows already: %s", version, log.partition(instant))
            shutil.rmtree(log.staging(instant), ignore_errors=True)
        else:
            _Writing(ctx, log, rows, wanted, digests).run()
        made = _record(ctx, log, wanted)
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, SCORING, made)
    ctx.log.info("version %s scored %s rows: %s", version, f"{made.rows:,}", made.path)
    return made


@dataclass(frozen=True)
class _Rows:
    """The rows to score, a batch at a time, in the source's order: all columns but the target."""

    source: Path
    column: str
    start: datetime
    end: datetime
    batch: int
    kept: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, ctx: StepContext, settings: Score, start: datetime, end: datetime) -> _Rows:
        data = ctx.spec.data
        kept = tuple(dict.fromkeys([*data.key, data.window.column, *settings.columns]))
        source = ctx.project.path(settings.source or data.source)
        return cls(source, data.window.column, start, end, settings.rows, kept, ctx.spec.evaluate.target)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        from tidemill.tools import source

        return source.batches(
            self.source,
            self.column,
            self.start,
            self.end,
            self.batch,
            require_columns=self.kept,
            leave_out=[self.target],
        )

    def digests(self) -> list[tuple[int, str]]:
        """For each batch how many rows there are up to its end, and their hash; the last is that of all.

        Raises:
            SourceError: there are no rows, or they cannot be read.
        """
        from tidemill.tools import source
        from tidemill.tools.content import ContentHash

        hashed, found = ContentHash(), []
        for batch in self:
            hashed.add(batch)
            found.append((hashed.rows, hashed.digest()))
        if not found:
            raise source.SourceError(source.no_rows(self.source, self.column, self.start, self.end))
        return found


def _header(ctx: StepContext, settings: Score, rows: _Rows, version: str, digests: list[tuple[int, str]]) -> Header:
    facts: dict[str, Any] = {
        "pipeline": ctx.pipeline,
        "model": ctx.model,
        "version": version,
        "data_version": digests[-1][1],
        "as_of": written(ctx.as_of.instant),
        "start": rows.start.isoformat(),
        "end": rows.end.isoformat(),
        "rows": digests[-1][0],
        "parts": len(digests),
    }
    same = {**facts, "format": _FORMAT, "batch": settings.rows, "kept": rows.kept}
    return Header(id=hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest(), **facts)


def _whole(ctx: StepContext, log: Log, instant: datetime) -> Header | None:
    """What the log has for the instant. What is not whole there is replaced, and its loss said."""
    try:
        return log.header(instant)
    except StepError as error:
        ctx.log.warning("%s; it is made anew now", error)
        return None


@dataclass(frozen=True)
class _Writing:
    """The making of one folder of the log."""

    ctx: StepContext
    log: Log
    rows: _Rows
    header: Header
    digests: list[tuple[int, str]]

    def run(self) -> None:
        """Score what an earlier attempt has not, and publish."""
        from tidemill.tools.content import ContentHash
        from tidemill.tools.mlflow import open_mlflow

        instant = self.ctx.as_of.instant
        folder, number, done = self._resume()
        predictor = open_mlflow(self.ctx.connections, self.ctx.project).load(self.ctx.model, self.header.version)
        predict = _Predict.of(predictor, self.ctx.spec.evaluate.task, [folder / _name(number + i) for i in done])
        header = replace(self.header, classes=predict.classes)
        taken = [name for name in self.rows.kept if name in {*PREDICTED, *map(probability, predict.classes or ())}]
        if taken:
            raise StepError(
                f"{self.rows.source}: the log has a column {taken[0]!r} of its own; rename that of the source"
            )
        hashed, count = ContentHash(), 0
        for index, batch in enumerate(self.rows):
            hashed.add(batch)
            if index >= len(self.digests) or (hashed.rows, hashed.digest()) != self.digests[index]:
                raise self._changed()
            count += 1
            if index in done:
                continue
            table = self._scored(batch, predict, hashed.rows - batch.height)
            with roomy(self.log.folder):
                _write(table.replace_schema_metadata(header.to_metadata()), folder / _name(number + index))
            self.ctx.log.info("part %d of %d: %s rows", index + 1, header.parts, f"{hashed.rows:,}")
        if count != len(self.digests):
            raise self._changed()
        self.log.publish(instant)

    def _resume(self) -> tuple[Path, int, frozenset[int]]:
        """The folder to write to, the number of the first file in it, and which parts are there already."""
        folder = self.log.staging(self.ctx.as_of.instant)
        note = folder.with_suffix(".json")
        number = self.log.first_number(self.ctx.as_of.instant)
        begun = {"id": self.header.id, "number": number}
        with roomy(self.log.folder):
            if folder.is_dir() and _read_note(note) != begun:
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(begun), encoding="utf-8")
            for left in folder.glob("*.new"):
                left.unlink()
        found = set()
        for index in range(self.header.parts):
            file = folder / _name(number + index)
            if file.is_file() and _is_part(file, self.header, self._height(index)):
                found.add(index)
        if found:
            self.ctx.log.info("%d of %d parts were made by an earlier attempt", len(found), self.header.parts)
        return folder, number, frozenset(found)

    def _height(self, index: int) -> int:
        return self.digests[index][0] - (self.digests[index - 1][0] if index else 0)

    def _changed(self) -> StepError:
        return StepError(
            f"{self.rows.source} changed while it was read: nothing was put into the log. Run this again when the "
            "source is written",
            retry=True,
        )

    def _scored(self, batch: pl.DataFrame, predict: _Predict, before: int) -> Any:
        """The part of a batch as an Arrow table."""
        import numpy as np
        import polars as pl
        import pyarrow as pa

        try:
            columns = predict(batch)
        except StepError as error:
            span = f"rows {before + 1:,} to {before + batch.height:,} of the window"
            raise StepError(f"{span}: {error}{_missing(predict.predictor, batch)}", retry=error.retry) from error
        table = batch.select(self.rows.kept).with_columns(pl.col(pl.Categorical).cast(pl.String))
        made = table.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        for name, values in columns.items():
            made = made.append_column(name, values)
        same = {"model_version": self.header.version, "data_version": self.header.data_version}
        for name, text in {**same, "as_of": self.header.as_of}.items():
            # As pyarrow and pandas read the name of the folder: as text with a dictionary.
            codes = pa.array(np.zeros(batch.height, dtype=np.int32))
            made = made.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([text])))
        return made


@dataclass
class _Predict:
    """A model's predictions for a batch, as columns of the log.

    ``probable``: whether it gives probabilities; ``None`` until it was asked. All files of a folder have the same
    columns, so that what the first batch shows holds for all of them.
    """

    predictor: Predictor
    classes: list[Label] | None
    probable: bool | None = None

    @classmethod
    def of(cls, predictor: Predictor, task: str, done: list[Path]) -> _Predict:
        """The predictions of a model, in a folder that has the files ``done``."""
        import pyarrow.parquet as pq

        if task == "regression":
            return cls(predictor, None)
        if predictor.classes is None:
            raise StepError(f"{predictor.name} does not say its classes: train it again")
        classes = in_order(predictor.classes)
        return cls(predictor, classes, probability(classes[0]) in pq.read_schema(done[0]).names if done else None)

    def __call__(self, batch: pl.DataFrame) -> Mapping[str, Any]:
        """Column → values, as Arrow arrays.

        Raises:
            StepError: the model fails.
        """
        import pyarrow as pa

        from tidemill.tools.predictor import LabelsOnly

        rows = batch.to_pandas()
        if self.classes is None:
            return {"prediction": pa.array(self.predictor.values(rows), pa.float64())}
        index = {label: i for i, label in enumerate(self.classes)}
        labels = [index.get(label) for label in self.predictor.labels(rows, self.classes)]
        found = {"prediction": pa.array(_alike(self.classes)).take(pa.array(labels, pa.int32()))}
        if self.probable is False:
            return found
        try:
            proba = self.predictor.probabilities(rows, self.classes)
        except LabelsOnly:
            if self.probable:
                raise
            self.probable = False
            return found
        self.probable = True
        return found | {probability(label): pa.array(proba[:, i]) for i, label in enumerate(self.classes)}


def _alike(classes: list[Label]) -> list[Label]:
    """Classes of one type, as a column has to have: those of several as texts."""
    return classes if len({type(label) for label in classes}) == 1 else [str(label) for label in classes]


def _missing(predictor: Predictor, batch: pl.DataFrame) -> str:
    """What the rows lack of what the model was given at training: mostly why it fails."""
    lacking = [name for name in predictor.inputs if name not in batch.columns]
    return f". The rows lack what it was trained with: {', '.join(lacking)}" if lacking else ""


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"


def _write(table: Any, file: Path) -> None:
    """Write a file that is there whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    new = file.with_suffix(".new")
    try:
        with open(new, "wb") as sink:
            pq.write_table(table, sink, compression=_COMPRESSION)
            sink.flush()
            os.fsync(sink.fileno())
    except pa.ArrowException as e:
        raise StepError(f"the predictions cannot be written as Parquet: {e}") from e
    new.rename(file)


def _read_note(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_part(file: Path, header: Header, rows: int) -> bool:
    """Whether a file is one of ours, and whole."""
    import pyarrow.parquet as pq

    try:
        return Header.of(file).id == header.id and pq.read_metadata(file).num_rows == rows
    except StepError:
        return False


def _record(ctx: StepContext, log: Log, header: Header) -> Scoring:
    folder = log.partition(ctx.as_of.instant)
    return Scoring(
        model=ctx.model,
        version=header.version,
        data_version=header.data_version,
        as_of=ctx.as_of.instant,
        start=datetime.fromisoformat(header.start),
        end=datetime.fromisoformat(header.end),
        rows=header.rows,
        parts=header.parts,
        path=str(folder),
        unscored=_unscored(ctx, folder),
    )


def _unscored(ctx: StepContext, folder: Path) -> int:
    """How many rows of the log have no label, or a score that is no finite number."""
    import polars as pl

    files = sorted(folder.glob("part-*.parquet"))
    frame, classes = pl.scan_parquet(files), Header.of(files[0]).classes
    schema = frame.collect_schema()
    names = ["prediction", *(probability(label) for label in classes or ())]
    bad = [
        ~pl.col(name).is_finite().fill_null(value=False) if schema[name].is_float() else pl.col(name).is_null()
        for name in names
        if name in schema
    ]
    count = int(frame.select(pl.any_horizontal(bad).sum()).collect(engine="streaming").item())
    if count:
        ctx.log.warning("the model gave no label or a score that is no finite number for %s rows", f"{count:,}")
    return count
