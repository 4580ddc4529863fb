"""What a model says of the rows of a window, batch by batch, as files of a prediction log.

The rows are read twice: once for their hash, which every prediction carries as its data version, and once to be
scored; a batch that is not what was hashed shows that the source changed meanwhile. Only a few batches are in memory at
a time. A batch that is done is a file that a retry keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidemill.spec.monitoring import PREDICTED, Score
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.predictions import Header, probability, roomy
from tidemill.steps.scoring import in_order
from tidemill.steps.sources import source_path

if TYPE_CHECKING:
    import polars as pl

    from tidemill.steps.computing import Computation
    from tidemill.tools.predictor import Label, Predictor

_COMPRESSION: Final = "zstd"

Digests = Sequence[tuple[int, str]]
"""For each batch how many rows there are up to its end, and their hash; the last is that of all."""


@dataclass(frozen=True)
class Rows:
    """The rows to score, a batch at a time, in the source's order: all columns but the target."""

    source: Path
    column: str
    start: datetime
    end: datetime
    batch: int
    kept: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, ctx: StepContext, settings: Score, start: datetime, end: datetime) -> Rows:
        """Those of a run."""
        data = ctx.spec.data
        kept = tuple(dict.fromkeys([*data.key, data.window.column, *settings.columns]))
        source = source_path(ctx, settings.source or data.source)
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

    def digests(self) -> Digests:
        """The hashes of the rows.

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

    def extract(self, folder: Path, digests: Digests) -> None:
        """Write each batch into a file of its own, exactly as it is, for another machine.

        Raises:
            StepError: they are not what was hashed.
        """
        for index, batch in enumerate(checked(self, digests, self.source)):
            batch.write_ipc(folder / f"{index:05}.arrow", compression=_COMPRESSION)


def checked(rows: Iterable[pl.DataFrame], digests: Digests, source: Path) -> Iterator[pl.DataFrame]:
    """The batches, each after it was found to be what was hashed.

    Raises:
        StepError: one is not, or there are more or fewer (``retry``).
    """
    from tidemill.tools.content import ContentHash

    hashed, count = ContentHash(), 0
    for batch in rows:
        hashed.add(batch)
        if count >= len(digests) or (hashed.rows, hashed.digest()) != tuple(digests[count]):
            raise _changed(source)
        count += 1
        yield batch
    if count != len(digests):
        raise _changed(source)


def _changed(source: Path) -> StepError:
    return StepError(
        f"{source} changed while it was read: nothing was put into the log. Run this again when the source is written",
        retry=True,
    )


def compute(given: Computation) -> Mapping[str, Any]:
    """Score the batches that are not done yet, each into a file of ``output``; the ``header`` of them all.

    ``rows`` is the source, or a folder of the batches (files of Arrow); ``model`` an MLflow folder.

    Raises:
        StepError: the model cannot be loaded or fails; a file cannot be written or the rows have changed (``retry``).
    """
    from tidemill.steps.computing import model_of

    facts = given.facts
    known, source, first = Header(**facts["header"]), Path(facts["source"]), facts["first"]
    digests = [tuple(each) for each in facts["digests"]]
    done = _done(given, known, digests)
    predictor = model_of(given, "model", called=facts["called"])
    predict = _Predict.of(predictor, given.spec.evaluate.task, [given.output / name_of(first + i) for i in done])
    header = replace(known, classes=predict.classes)
    taken = [name for name in facts["kept"] if name in {*PREDICTED, *map(probability, predict.classes or ())}]
    if taken:
        raise StepError(f"{source}: the log has a column {taken[0]!r} of its own; rename that of the source")
    before = 0
    for index, batch in enumerate(checked(_batches(given), digests, source)):
        if index not in done:
            table = _scored(batch, predict, before, header, facts["kept"])
            with roomy(Path(facts["log"])):
                write(table.replace_schema_metadata(header.to_metadata()), given.output / name_of(first + index))
            given.log.info("part %d of %d: %s rows", index + 1, header.parts, f"{before + batch.height:,}")
        before += batch.height
    return {"header": asdict(header)}


def _batches(given: Computation) -> Iterator[pl.DataFrame]:
    import polars as pl

    rows, facts = given.inputs["rows"], given.facts
    if facts.get("extracted"):
        return (pl.read_ipc(file) for file in sorted(rows.glob("*.arrow")))
    data, header, settings = given.spec.data, facts["header"], given.spec.score
    assert settings is not None
    start, end = (datetime.fromisoformat(header[name]) for name in ("start", "end"))
    return iter(
        Rows(rows, data.window.column, start, end, settings.rows, tuple(facts["kept"]), given.spec.evaluate.target)
    )


def _done(given: Computation, header: Header, digests: Digests) -> frozenset[int]:
    """The parts that an earlier attempt has made."""
    found = set()
    for index in range(header.parts):
        file = given.output / name_of(given.facts["first"] + index)
        height = digests[index][0] - (digests[index - 1][0] if index else 0)
        if file.is_file() and _is_part(file, header, height):
            found.add(index)
    if found:
        given.log.info("%d of %d parts were made by an earlier attempt", len(found), header.parts)
    return frozenset(found)


def _scored(batch: pl.DataFrame, predict: _Predict, before: int, header: Header, kept: Sequence[str]) -> Any:
    """The part of a batch as an Arrow table; ``before`` is how many rows came before it."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    try:
        columns = predict(batch)
    except StepError as error:
        span = f"rows {before + 1:,} to {before + batch.height:,} of the window"
        raise StepError(f"{span}: {error}{_missing(predict.predictor, batch)}", retry=error.retry) from error
    table = batch.select(kept).with_columns(pl.col(pl.Categorical).cast(pl.String))
    made = table.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    for name, values in columns.items():
        made = made.append_column(name, values)
    same = {"model_version": header.version, "data_version": header.data_version, "as_of": header.as_of}
    for name, text in same.items():
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


def name_of(number: int) -> str:
    """A file's name in the log."""
    return f"part-{number:05}.parquet"


def write(table: Any, file: Path) -> None:
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


def _is_part(file: Path, header: Header, rows: int) -> bool:
    """Whether a file is one of ours, and whole."""
    import pyarrow.parquet as pq

    try:
        return Header.of(file).id == header.id and pq.read_metadata(file).num_rows == rows
    except StepError:
        return False
