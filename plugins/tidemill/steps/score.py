"""The champion over the rows of a window, kept as a log of predictions (predicting.py makes its files)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.ledger.views import PROMOTION, ROLLBACK, SCORING, champion
from tidemill.records import Scoring
from tidemill.spec.monitoring import Score
from tidemill.spec.units import format_instant
from tidemill.steps import processing
from tidemill.steps.computing import Computation, Computed
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.intent import begun
from tidemill.steps.ledger_io import record
from tidemill.steps.predicting import Digests, Rows, compute, name_of
from tidemill.steps.predictions import Header, Log, probability, roomy, written
from tidemill.steps.window import window_of

__all__ = ["compute", "run"]

_STEP = "score"
_FORMAT = 1
"""The form of the log: another one makes other files."""


def run(ctx: StepContext) -> Scoring:
    """Score the window's rows with the champion in force at ``as_of`` and put the files in their place, all at once.

    What the log holds already, of the same version for the same rows, is not made again.

    Raises:
        StepWaits: a job scores them; call this again when that has ended.
        StepSkipped: no champion is in force.
        StepError: the window is empty; the source cannot be read, lacks a column, or changes meanwhile (``retry``);
            the model cannot be loaded or fails; the files cannot be written (``retry``).
    """
    settings, log = ctx.spec.score, Log.of(ctx)
    if settings is None or log is None:
        raise StepError("the spec has no score section")
    wanted, instant = _Wanted(ctx, settings, log), ctx.as_of.instant
    away = processing.remotely(ctx, _STEP)
    # What a job of this task was begun with stands, whatever champion is in force by now.
    decided = away and begun(ctx) is not None
    if not decided:
        ctx.log.info("version %s is in force", wanted.version)
    with log.alone(instant):
        log.check_owner()
        header = None if decided else _there(ctx, log, wanted)
        if header is None:
            made = processing.compute(ctx, _STEP, wanted.prepared, compute)
            header = Header(**made.value["header"])
            if away:
                _bring(log, instant, header, made)
            else:
                log.publish(instant)
        found = _record(ctx, log, header)
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, SCORING, found)
    ctx.log.info("version %s scored %s rows: %s", found.version, f"{found.rows:,}", found.path)
    return found


@dataclass(frozen=True)
class _Wanted:
    """What is to be scored, by which version: decided when it is first asked for."""

    ctx: StepContext
    settings: Score
    log: Log

    @cached_property
    def version(self) -> str:
        instant = self.ctx.as_of.instant
        with self.ctx.open_ledger() as ledger:
            in_force = champion(ledger.entries(self.ctx.model, kinds={PROMOTION, ROLLBACK}), at=instant)
        if in_force is None:
            raise StepSkipped(f"no champion is in force at {format_instant(instant)}: there is nothing to score with")
        return str(in_force.body["version"])

    @cached_property
    def rows(self) -> Rows:
        return Rows.of(self.ctx, self.settings, *window_of(self.ctx, self.settings))

    @cached_property
    def digests(self) -> Digests:
        return self.rows.digests()

    @cached_property
    def header(self) -> Header:
        facts: dict[str, Any] = {
            "pipeline": self.ctx.pipeline,
            "model": self.ctx.model,
            "version": self.version,
            "data_version": self.digests[-1][1],
            "as_of": written(self.ctx.as_of.instant),
            "start": self.rows.start.isoformat(),
            "end": self.rows.end.isoformat(),
            "rows": self.digests[-1][0],
            "parts": len(self.digests),
        }
        same = {**facts, "format": _FORMAT, "batch": self.settings.rows, "kept": self.rows.kept}
        return Header(id=hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest(), **facts)

    def prepared(self) -> Computation:
        """The rows and the model, here or ready to be brought elsewhere."""
        from tidemill.tools.mlflow import open_mlflow

        ctx, rows = self.ctx, self.rows
        keep: list[Any] = []
        if processing.remotely(ctx, _STEP):
            keep.append(tempfile.TemporaryDirectory(prefix="rows-", dir=ctx.scratch(_STEP)))
            output = Path(keep[0].name)
            rows.extract(output, self.digests)
            source, first = output, 0
        else:
            source = rows.source
            output, first = _resume(self.log, ctx.as_of.instant, self.header)
        model = open_mlflow(ctx.connections, ctx.project).fetch_version(ctx.model, self.version)
        return Computation(
            spec=ctx.spec,
            root=ctx.project.root,
            inputs={"rows": source, "model": model.folder},
            facts={
                "header": asdict(self.header),
                "digests": [list(each) for each in self.digests],
                "first": first,
                "called": model.name,
                "source": str(rows.source),
                "kept": list(rows.kept),
                "log": str(self.log.folder),
                "extracted": source != rows.source,
            },
            output=output,
            log=ctx.log,
            keep=(*keep, model),
        )


def _there(ctx: StepContext, log: Log, wanted: _Wanted) -> Header | None:
    """What the log has of this for the instant. What is not whole there is replaced, and its loss said."""
    instant, found = ctx.as_of.instant, None
    header = wanted.header
    try:
        found = log.header(instant)
    except StepError as error:
        ctx.log.warning("%s; it is made anew now", error)
    if found is None or found.id != header.id:
        return None
    ctx.log.info("version %s has scored these rows already: %s", header.version, log.partition(instant))
    shutil.rmtree(log.staging(instant), ignore_errors=True)
    return found


def _resume(log: Log, instant: datetime, header: Header) -> tuple[Path, int]:
    """The folder to write to, with what an earlier attempt has made of the same, and the number of its first file."""
    folder, number = log.staging(instant), log.first_number(instant)
    note, begun = folder.with_suffix(".json"), {"id": header.id, "number": number}
    with roomy(log.folder):
        if folder.is_dir() and _read_note(note) != begun:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(begun), encoding="utf-8")
        for left in folder.glob("*.new"):
            left.unlink()
    return folder, number


def _bring(log: Log, instant: datetime, header: Header, made: Computed) -> None:
    """Put the files that a job has made in their place, unless an earlier try has."""
    with contextlib.suppress(StepError):  # what is not whole there is replaced
        if log.header(instant) == header:
            return
    staging, number = log.staging(instant), log.first_number(instant)
    with roomy(log.folder):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for index in range(header.parts):
            target = staging / name_of(number + index)
            shutil.copyfile(made.output / name_of(index), target)
            with open(target, "rb") as file:
                os.fsync(file.fileno())
            if Header.of(target) != header:
                raise StepError(f"{made.output} is not what the job made of these rows: clear this task", retry=False)
    log.publish(instant)
    shutil.rmtree(made.output, ignore_errors=True)


def _read_note(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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
