"""One pass over rows, to a sketch: all cores, a small part of the values in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.drift.columns import CAPACITY, Summary, summary
from tidemill.drift.errors import DriftError
from tidemill.drift.sketch import ColumnSketch, Sketch
from tidemill.spec.errors import suggest

if TYPE_CHECKING:
    from tidemill.drift.sources import Block, Part, Source

Progress = Callable[[str, int], None]
"""Called with the file that is being read and the values read so far, of all columns together."""
BUDGET = 1 << 25
"""Values of all columns together that are kept at once while the quantiles of a reference are looked for."""


def summarise(
    source: str | Path | Source,
    *,
    reference: Sketch | None = None,
    columns: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Sketch:
    """The sketch of all rows of a source.

    Without ``reference`` the sketch can be one: numbers are counted on edges of their own, which are quantiles. With
    it they are counted on its edges, in a single pass. ``columns`` are the ones to summarise, all but ``exclude`` if
    absent; those that a source lacks are left out where there is a reference. Files of which more rows than
    `columns.CAPACITY` make a reference are read twice.

    Raises:
        DriftError: the source cannot be read, or changed meanwhile; a column was asked for that does not exist.
    """
    if isinstance(source, str | Path):
        from tidemill.drift.sources import open_source

        source = open_source(source)
    names = _chosen(source, reference, columns, exclude)
    known = reference.columns if reference is not None else {}
    source.prefer({name: known[name].kind for name in names if name in known})
    found = _Pass(source, names, known, reference is None, threads or len(os.sched_getaffinity(0)), progress).run()
    rows = next(iter(found.values())).rows if found else source.rows() or 0
    return Sketch(rows=rows, columns=found, meta={"source": source.name})


def summarise_table(
    table: Any,
    *,
    reference: Sketch | None = None,
    columns: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    threads: int | None = None,
) -> Sketch:
    """The sketch of a table in memory: of polars, pandas or Arrow. As ``summarise`` otherwise."""
    from tidemill.drift.tables import TableSource

    return summarise(TableSource(table), reference=reference, columns=columns, exclude=exclude, threads=threads)


def _chosen(
    source: Source, reference: Sketch | None, columns: Sequence[str] | None, exclude: Collection[str]
) -> list[str]:
    there = list(source.schema.names)
    if columns is None:
        return [name for name in there if name not in exclude]
    known = set(there)
    missing = [name for name in columns if name not in known]
    if missing and (reference is None or any(name not in reference.columns for name in missing)):
        near = suggest(missing[0], there)
        meant = f' Did you mean "{near}"?' if near else f" There are: {', '.join(there[:20])}."
        raise DriftError(f'{source.name} has no column "{missing[0]}".{meant}')
    return [name for name in columns if name in known]


@dataclass
class _Pass:
    """A source being read: each column has its summary, and in the end its sketch."""

    source: Source
    names: Sequence[str]
    known: Mapping[str, ColumnSketch]
    alone: bool
    threads: int
    progress: Progress | None
    _capacity: int = CAPACITY
    _seen: int = 0
    _summaries: dict[str, Summary] = field(default_factory=dict)
    _again: dict[str, Summary] = field(default_factory=dict)
    _found: dict[str, ColumnSketch] = field(default_factory=dict)

    def run(self) -> dict[str, ColumnSketch]:
        """Read the source, twice if need be."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="summarise") as pool:
            self._read(self.names, pool)
            if self._again:
                self._summaries, self._again = self._again, {}
                self._read(list(self._summaries), pool)
        return {name: self._found[name] for name in self.names}

    def _read(self, names: Sequence[str], pool: ThreadPoolExecutor) -> None:
        """Let the summary of each column take in its values."""
        parts = self.source.parts()
        for number, part in enumerate(parts):
            blocks = part.blocks(names, self.threads)
            apart = len(blocks) > 1 or not blocks
            if number == 0:  # with a single part each column is read to its end at once, and its values let go
                self._capacity = CAPACITY if apart and len(parts) == 1 else max(1 << 12, BUDGET // max(1, len(names)))
            if apart:
                last = number == len(parts) - 1
                for taken in pool.map(partial(self._take, last=last), blocks):
                    self._report(part, taken)
            else:
                self._stream(part, blocks[0], pool)
            part.finish()
        list(pool.map(self._settle, (name for name in names if name not in self._found and name not in self._again)))

    def _take(self, block: Block, *, last: bool) -> int:
        """Take in a block, column after column, and let go of each that comes to its end; the number of its values."""
        taken, before = 0, None
        for batch in block:
            (name,) = batch.schema.names
            if last and before not in (None, name):
                self._settle(before)
            before = name
            self._summary(name).add(batch.column(0))
            taken += batch.num_rows
        if last and before is not None:
            self._settle(before)
        return taken

    def _stream(self, part: Part, block: Block, pool: ThreadPoolExecutor) -> None:
        """Take in a block whose columns come together: each batch's columns are shared out."""
        for batch in block:
            columns = zip(batch.schema.names, batch.columns, strict=True)
            list(pool.map(lambda column: self._summary(column[0]).add(column[1]), columns))
            self._report(part, batch.num_rows * batch.num_columns)

    def _summary(self, name: str) -> Summary:
        found = self._summaries.get(name)
        if found is None:
            dtype, capacity = self.source.schema.field(name).type, min(CAPACITY, self._capacity)
            found = summary(dtype, self.known.get(name), alone=self.alone, capacity=capacity)
            self._summaries[name] = found
        return found

    def _settle(self, name: str) -> None:
        """Make the sketch of a column that has been read, or say that it has to be read again."""
        one = self._summary(name)
        again = one.again()
        if again is None:
            self._found[name] = one.finish()
        else:
            self._again[name] = again
        del self._summaries[name]

    def _report(self, part: Part, taken: int) -> None:
        self._seen += taken
        if self.progress is not None:
            self.progress(part.name, self._seen)
