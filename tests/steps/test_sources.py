"""Sources that are addresses: the newest version is fetched once, by its id, and told in the data version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import polars as pl
import pytest

from tests.emulators import Emulation
from tests.platforms import aws_emulated, clouds
from tidemill.steps import data
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.sources import located

KEY = "lake/rows.parquet"
ADDRESS = f"s3://acme-ml/{KEY}"


@pytest.fixture
def emulation() -> Iterator[Emulation]:
    yield aws_emulated.running()
    aws_emulated.running().set_faults()


@pytest.fixture
def make(make_context: Callable[..., StepContext], emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Any:
    connections = clouds.connections(monkeypatch, emulation)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def made(source: str = ADDRESS, **given: Any) -> StepContext:
        found = make_context("data", platform=dict(aws_emulated.PLATFORM), data={"source": source}, **given)
        return replace(found, connections=connections)

    return made


def put(emulation: Emulation, hours: int = 6, key: str = KEY) -> str:
    """Write the source, a row every so many hours; the id of its version."""
    first = datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # as it is stored
    times = [first + timedelta(hours=hours * n) for n in range(5000 // hours)]
    frame = pl.DataFrame({"id": range(len(times)), "time": times, "late": [n % 2 == 0 for n in range(len(times))]})
    body = BytesIO()
    frame.write_parquet(body)
    s3 = aws_emulated.client(emulation, "s3")
    return str(s3.put_object(Bucket="acme-ml", Key=key, Body=body.getvalue())["VersionId"])


def reads(emulation: Emulation) -> int:
    return int(emulation.report()["calls"].get("GetObject", 0))


def test_the_rows_come_from_the_newest_version_and_the_record_names_it(make: Any, emulation: Emulation) -> None:
    put(emulation, 12)
    version = put(emulation)
    found = data.run(make())
    assert (found.source, found.source_version) == (ADDRESS, version)
    assert found.holdout.rows == 30 * 4


def test_a_version_is_fetched_once_on_a_machine(make: Any, emulation: Emulation) -> None:
    put(emulation)
    first = located(make(), ADDRESS)
    before = reads(emulation)
    assert located(make(), ADDRESS) == first
    assert reads(emulation) == before
    put(emulation, 12)
    second = located(make(), ADDRESS)
    assert second.path != first.path
    assert first.path.exists(), "a step that began with it still reads it"
    assert first.path.name == second.path.name == "rows.parquet"


def test_what_is_in_use_is_kept_though_it_was_fetched_long_ago(make: Any, emulation: Emulation) -> None:
    put(emulation)
    first = located(make(), ADDRESS).path
    old = time.time() - 90_000
    os.utime(first.parent, (old, old))
    assert located(make(), ADDRESS).path == first, "a step begins with it"
    put(emulation, 12)
    located(make(), ADDRESS)
    assert first.exists()


def test_what_is_long_gone_is_not_kept(make: Any, emulation: Emulation) -> None:
    put(emulation)
    first = located(make(), ADDRESS).path
    old = time.time() - 90_000
    os.utime(first.parent, (old, old))
    put(emulation, 12)
    second = located(make(), ADDRESS).path
    assert list(second.parent.parent.iterdir()) == [second.parent]


def test_a_path_stays_a_path(make: Any, emulation: Emulation) -> None:
    ctx = make()
    assert located(ctx, "include/rows.parquet") == (ctx.project.root / "include/rows.parquet", None)


def test_what_is_not_there(make: Any, emulation: Emulation) -> None:
    with pytest.raises(StepError, match=r"there is no s3://acme-ml/lake/none\.parquet") as error:
        data.run(make("s3://acme-ml/lake/none.parquet"))
    assert not error.value.retry


def test_a_bucket_without_versions(make: Any, emulation: Emulation) -> None:
    s3 = aws_emulated.client(emulation, "s3")
    s3.create_bucket(Bucket="acme-lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="acme-lake", Key="rows.parquet", Body=b"x")
    with pytest.raises(StepError, match="put-bucket-versioning --bucket acme-lake"):
        data.run(make("s3://acme-lake/rows.parquet"))


def test_half_an_answer_is_no_source(make: Any, emulation: Emulation) -> None:
    put(emulation)
    emulation.set_faults(half={"GetObject": 99})
    with pytest.raises(StepError) as error:
        located(make(), ADDRESS)
    assert error.value.retry
    emulation.set_faults()
    assert located(make(), ADDRESS).path.is_file()
