"""The judged window in parts: dealt out, summarised in mapped tasks, put together with the numbers of one task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.steps.watched import MODEL, copied, day, rows, template
from tidemill.drift.sketch import Sketch
from tidemill.project import Project
from tidemill.records import AsOf, MonitorReport, Partitions, SketchPart
from tidemill.steps import monitor, partitions, sketch
from tidemill.steps.context import StepContext, StepError, StepSkipped

__all__ = ["template"]
Make = Callable[..., StepContext]
SETTINGS: dict[str, Any] = {
    "schedule": "monthly",
    "min_rows": 50,
    "partitions": 3,
    "drift": {"distance": "wasserstein", "share": 0.5},
}


@pytest.fixture
def make(make_context: Make, project: Project, template: Path) -> Callable[..., StepContext]:
    """The context of a step of the monitor's DAG, with seven files in the source and version 1 as champion."""
    copied(template, project.state)
    folder = project.path("include/rows")
    folder.mkdir(parents=True, exist_ok=True)
    source = pl.concat([rows(day(3), 31, seed=4), rows(day(4), 30, shift=0.7, seed=5)])
    for number in range(7):
        source.gather_every(7, number).write_parquet(folder / f"{number}.parquet")

    def made(step: str, *, champion: bool = True, **more: Any) -> StepContext:
        ctx = make_context(
            step,
            dag_id="flights.monitor",
            run_id=f"scheduled__{step}",
            results={"as_of": AsOf(instant=day(5), cause="scheduled", interval_start=day(4), interval_end=day(5))},
            data={"source": "include/rows"},
            monitor=SETTINGS,
        )
        if champion:
            with ctx.open_ledger() as ledger:
                body = {"outcome": "promoted", "version": "1"}
                ledger.append(MODEL, "promotion", body, as_of=day(3), key="promotion/1")
        return dataclasses.replace(ctx, **more)

    return made


def test_the_files_are_dealt_out_once_each(make: Callable[..., StepContext]) -> None:
    found = partitions.run(make("partitions"))
    assert (found.version, found.start, found.end) == ("1", day(4), day(5))
    assert sorted(file for part in found.files for file in part) == [f"{n}.parquet" for n in range(7)]
    assert [len(part) for part in found.files] == [2, 2, 3]
    assert [part["index"] for part in found.parts()] == [0, 1, 2]


def test_parts_give_the_numbers_of_the_whole(make: Callable[..., StepContext]) -> None:
    alone = monitor.run(make("monitor"))
    dealt = partitions.run(make("partitions"))
    parts = tuple(sketch.run(make("sketch", part=part)) for part in dealt.parts())
    assert sum(part.rows for part in parts) == alone.rows == 300
    spread = monitor.run(dataclasses.replace(make("monitor"), run_id="spread", parts=parts))
    assert [c.name for c in spread.columns] == [c.name for c in alone.columns]
    for one, other in zip(spread.columns, alone.columns, strict=True):
        assert one.distance == pytest.approx(other.distance, rel=1e-12)
        assert one.p_value == pytest.approx(other.p_value, rel=1e-12)
    assert (spread.fired, spread.why) == (alone.fired, alone.why) == (("drift",), alone.why)


def test_files_by_time_leave_parts_without_rows_and_change_no_number(
    make: Callable[..., StepContext], project: Project
) -> None:
    folder = project.path("include/rows")
    source = pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("*.parquet"))]).sort("time")
    for file in folder.glob("*.parquet"):
        file.unlink()
    for number in range(6):
        source.slice(number * 100, 100).write_parquet(folder / f"{number}.parquet")
    source.slice(600).write_parquet(folder / "6.parquet")
    alone = monitor.run(make("monitor"))
    parts = tuple(sketch.run(make("sketch", part=part)) for part in partitions.run(make("partitions")).parts())
    assert min(part.rows for part in parts) == 0 < sum(part.rows for part in parts) == alone.rows
    spread = monitor.run(dataclasses.replace(make("monitor"), run_id="spread", parts=parts))
    assert [c.distance for c in spread.columns] == pytest.approx([c.distance for c in alone.columns], rel=1e-12)
    assert (spread.why, spread.findings) == (alone.why, alone.findings)


def test_without_a_champion_nothing_is_dealt_out(make: Callable[..., StepContext]) -> None:
    with pytest.raises(StepSkipped, match="no champion was in force at 2013-04-01"):
        partitions.run(make("partitions", champion=False))


def test_parts_that_are_gone_are_an_error_that_says_what_to_do(
    make: Callable[..., StepContext], tmp_path: Path
) -> None:
    gone = SketchPart(version="1", index=0, path=str(tmp_path / "none.sketch"), rows=1, of=1)
    with pytest.raises(StepError, match="Clear the task `sketch`"):
        monitor.run(make("monitor", parts=(gone,)))


def test_a_part_that_was_marked_as_done_by_hand_is_missed(make: Callable[..., StepContext]) -> None:
    first, *_ = partitions.run(make("partitions")).parts()
    part = sketch.run(make("sketch", part=first))
    with pytest.raises(StepError, match=r"has 3 parts, and those of the tasks `sketch` \[1, 2\] were not summarised"):
        monitor.run(make("monitor", parts=(part,)))


def test_parts_against_another_champion_are_not_used(make: Callable[..., StepContext], tmp_path: Path) -> None:
    path = tmp_path / "of-another.sketch"
    Sketch(rows=1, columns={}).write(path)
    stale = SketchPart(version="2", index=0, path=str(path), rows=1, of=1)
    found: MonitorReport = monitor.run(make("monitor", parts=(stale,)))
    assert found.judged_columns == 2


def test_what_is_handed_on_is_small_and_reads_back() -> None:
    record = Partitions(version="1", start=day(4), end=day(5), files=(("a.parquet",), ("b.parquet", "c.parquet")))
    assert Partitions.from_json(record.to_json()) == record
    assert record.parts()[1] == {
        "version": "1",
        "start": "2013-04-01T00:00:00+00:00",
        "end": "2013-05-01T00:00:00+00:00",
        "index": 1,
        "of": 2,
        "files": ["b.parquet", "c.parquet"],
    }
