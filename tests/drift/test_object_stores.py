"""Rows in object stores are read by their URI, with the credentials of the environment."""

from __future__ import annotations

import boto3
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill.drift.errors import DriftError
from tidemill.drift.sketch import NumericSketch
from tidemill.drift.sources import open_source
from tidemill.drift.summarise import summarise

VALUES = np.random.default_rng(0).normal(size=5000)


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    client = boto3.client("s3")
    client.create_bucket(Bucket="rows")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": VALUES}), sink, row_group_size=1000)
    body = sink.getvalue().to_pybytes()
    client.put_object(Bucket="rows", Key="one/all.parquet", Body=body)
    for day in (1, 2):
        client.put_object(Bucket="rows", Key=f"days/day={day}/part.parquet", Body=body)
    client.put_object(Bucket="rows", Key="text/rows.csv", Body="x\n" + "\n".join(map(str, VALUES)))
    return "rows"


def check(uri: str, rows: int) -> None:
    source = open_source(uri)
    assert source.name == uri
    found = summarise(source).columns["x"]
    assert isinstance(found, NumericSketch)
    assert found.rows == rows
    assert found.mean == pytest.approx(VALUES.mean())


def test_files_and_folders_in_s3(bucket: str) -> None:
    check(f"s3://{bucket}/one/all.parquet", 5000)
    check(f"s3://{bucket}/text/rows.csv", 5000)
    check(f"s3://{bucket}/days", 10_000)
    source = open_source(f"s3://{bucket}/days")
    assert source.files() == ["day=1/part.parquet", "day=2/part.parquet"]
    half = summarise(open_source(f"s3://{bucket}/days", files=source.files()[:1])).columns["day"]
    assert isinstance(half, NumericSketch)
    assert (half.rows, half.minimum, half.maximum) == (5000, 1, 1)


def test_what_is_not_in_s3(bucket: str) -> None:
    with pytest.raises(DriftError, match=r"s3://rows/none\.parquet: there is no such file"):
        summarise(f"s3://{bucket}/none.parquet")


def test_azure_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DriftError, match="abfs://rows/days names no account"):
        open_source("abfs://rows/days")


def test_any_file_system_of_fsspec() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/folder/a.parquet", "wb") as file:
        pq.write_table(pa.table({"x": VALUES}), file)
    found = summarise(open_source("/folder/a.parquet", filesystem=memory)).columns["x"]
    assert found.rows == 5000
