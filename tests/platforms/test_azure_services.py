"""Blob Storage, Azure ML's tracking and Application Insights, over the wire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.emulators import Emulation
from tests.platforms import clouds
from tests.platforms.azure import connected, needs_azurite, platform, running
from tidemill.platforms.azure import account
from tidemill.platforms.azure.jobs import open_jobs
from tidemill.platforms.azure.metrics import ApplicationInsights, open_metrics
from tidemill.platforms.azure.storage import Blobs, address_of, open_storage
from tidemill.platforms.azure.tracking import open_tracking
from tidemill.platforms.ports import PlatformError, TrackedTraining

pytestmark = needs_azurite
BASE = "abfss://models@acmeml.dfs.core.windows.net/base"


@pytest.fixture(scope="module")
def emulation() -> Emulation:
    return running()


@pytest.fixture
def storage(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blobs]:
    yield open_storage(platform(), connected(monkeypatch, emulation))
    emulation.set_faults()


def written(folder: Path, content: bytes | str) -> Path:
    file = folder / "file"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("size", [0, 1, 9 << 20])
def test_what_is_put_is_got(storage: Blobs, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    uri = f"{BASE}/sizes/{size}"
    storage.put(written(tmp_path, content), uri)
    storage.get(uri, tmp_path / "deep" / "got")
    assert (tmp_path / "deep" / "got").read_bytes() == content
    assert [(s.uri, s.size) for s in storage.list(uri.rpartition("/")[0]) if s.uri == uri] == [(uri, size)]


def test_equal_content_is_left_alone_and_other_content_replaces_it(
    emulation: Emulation, storage: Blobs, tmp_path: Path
) -> None:
    uri = f"{BASE}/same"
    for content, puts in (("one", 1), ("one", 1), ("two", 2)):
        storage.put(written(tmp_path, content), uri)
        assert emulation.report()["calls"]["PutBlob"] - _others(emulation, "PutBlob") == puts
    storage.get(uri, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "two"


def _others(emulation: Emulation, operation: str, seen: dict[str, int] = {}) -> int:  # noqa: B006  (that is the point)
    """The calls before the first question."""
    return seen.setdefault(operation, int(emulation.report()["calls"][operation]) - 1)


def test_listing_is_in_order_and_keeps_to_the_folder(storage: Blobs, tmp_path: Path) -> None:
    file = written(tmp_path, "x")
    for name in ("list/b", "list/a", "list/sub folder/ä ü+?#%", "listed", "list.txt"):
        storage.put(file, f"{BASE}/{name}")
    found = [stored.uri.removeprefix(f"{BASE}/") for stored in storage.list(f"{BASE}/list")]
    assert found == ["list/a", "list/b", "list/sub folder/ä ü+?#%"]
    storage.get(f"{BASE}/list/sub folder/ä ü+?#%", tmp_path / "odd")
    assert list(storage.list(f"{BASE}/nothing")) == []
    for _ in range(2):
        storage.delete(f"{BASE}/list/a")
    assert next(storage.list(f"{BASE}/list")).uri == f"{BASE}/list/b"


def test_versions_are_those_of_the_one_object_the_newest_first(storage: Blobs, tmp_path: Path) -> None:
    for content in ("one", "two", "three", "three"):
        storage.put(written(tmp_path, content), f"{BASE}/kept")
    storage.put(written(tmp_path, "other"), f"{BASE}/kept-too")
    found = storage.versions(f"{BASE}/kept")
    assert len(found) == 3
    assert list(found) == sorted(found, reverse=True)
    assert storage.versions(f"{BASE}/never") == []


def test_what_is_not_there_is_told_and_leaves_no_file(storage: Blobs, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no such object"):
        storage.get(f"{BASE}/none", tmp_path / "got")
    other = "abfss://elsewhere@acmeml.dfs.core.windows.net/x"
    for call in (lambda: storage.put(written(tmp_path, "x"), other), lambda: list(storage.list(other))):
        with pytest.raises(PlatformError, match="container") as caught:
            call()
        assert caught.value.fault == "user"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("fault", "operation"), [("half", "GetBlob"), ("fail", "PutBlob"), ("throttle", "GetBlob"), ("lose", "PutBlob")]
)
def test_a_bad_moment_of_the_store_is_got_over(
    emulation: Emulation, storage: Blobs, tmp_path: Path, fault: str, operation: str
) -> None:
    emulation.set_faults(**{fault: {operation: 1}})
    uri = f"{BASE}/{fault}-{operation}"
    storage.put(written(tmp_path, "content" * 1000), uri)
    storage.get(uri, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "content" * 1000


def test_a_changed_object_is_not_taken_for_whole(emulation: Emulation, storage: Blobs, tmp_path: Path) -> None:
    uri = f"{BASE}/changed"
    storage.put(written(tmp_path, "the content"), uri)
    blob = storage._blob(uri)
    blob.upload_blob(b"other words", overwrite=True, metadata=blob.get_blob_properties().metadata)
    with pytest.raises(PlatformError, match="cut short, or altered"):
        storage.get(uri, tmp_path / "got")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(
    ("extra", "denied", "says"),
    [
        ({"shared_access_key": "bm90IHRoZSBrZXk="}, [], "azure_default"),
        ({"shared_access_key": None, "sas_token": "sv=2020&sig=no"}, [], "azure_default"),
        ({}, ["PutBlob"], "Storage Blob Data Contributor"),
    ],
)
def test_a_store_that_may_not_be_used_is_the_users_fault(
    emulation: Emulation,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    extra: dict[str, str],
    denied: list[str],
    says: str,
) -> None:
    found = open_storage(platform(), connected(monkeypatch, emulation, **extra))
    emulation.set_faults(denied=denied)
    with pytest.raises(PlatformError, match=says) as caught:
        found.put(written(tmp_path, "x"), f"{BASE}/denied")
    emulation.set_faults()
    assert caught.value.fault == "user"


@pytest.mark.parametrize("uri", ["s3://bucket/key", "/folder", "abfss://acme", "abfss://c@a.example.com/x"])
def test_an_address_of_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(PlatformError, match="no address in Azure"):
        address_of(uri)


def test_numbers_reach_application_insights_with_their_time(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_metrics(platform(), connected(monkeypatch, emulation))
    at = datetime.now(UTC) - timedelta(hours=3)
    found.put({"roc_auc": 0.75, "psi": float("nan"), "loss": float("inf")}, {"pipeline": "flights"}, at)
    sent = [item for item in emulation.report()["telemetry"] if item["data"]["baseType"] == "MetricData"]
    assert [item["data"]["baseData"]["metrics"][0]["name"] for item in sent] == ["tidemill.roc_auc"]
    assert sent[0]["data"]["baseData"]["metrics"][0]["value"] == 0.75
    assert sent[0]["data"]["baseData"]["properties"] == {"pipeline": "flights"}
    assert datetime.fromisoformat(sent[0]["time"].replace("Z", "+00:00")) == at
    with pytest.raises(PlatformError, match="48 hours"):
        found.put({"roc_auc": 0.7}, {}, at - timedelta(days=3))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (None, "names no Application Insights"),
        ("IngestionEndpoint=http://127.0.0.1:9/", "no connection string"),
        ("InstrumentationKey=00000000-0000-0000-0000-000000000bad;IngestionEndpoint={url}/", "did not take"),
    ],
)
def test_a_resource_that_is_not_there_is_told(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, address: str | None, says: str
) -> None:
    extra = None if address is None else address.format(url=emulation.url)
    connections = connected(monkeypatch, emulation, application_insights=extra)

    def put() -> None:
        found: ApplicationInsights = open_metrics(platform(), connections)
        found.put({"roc_auc": 0.7}, {}, datetime.now(UTC))

    with pytest.raises(PlatformError, match=says):
        put()


def test_a_training_is_tracked_once(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = connected(monkeypatch, emulation)
    tracking = open_tracking(platform(), connections)
    params = {f"p{n}": n for n in range(130)}
    training = TrackedTraining("tm-local-1", "flights", params, {"roc_auc": 0.7, "nan": float("nan")}, {"team": "ml"})
    address = tracking.log(training)
    assert tracking.log(training) == address
    runs = tracking._call("runs/search", {"experiment_ids": [tracking._experiment("flights")]})["runs"]
    assert [run["info"]["status"] for run in runs] == ["FINISHED"]
    data = runs[0]["data"]
    assert {p["key"]: p["value"] for p in data["params"]} == {key: str(value) for key, value in params.items()}
    assert {m["key"]: m["value"] for m in data["metrics"]} == {"roc_auc": 0.7}
    assert {t["key"]: t["value"] for t in data["tags"]}["team"] == "ml"

    # What ran as a job of the workspace is written into the job's own run.
    emulation.set_faults(noop=True)
    jobs = open_jobs(platform(), "azureml", connections)
    jobs.submit(clouds.remote_job(platform(), "azureml", "tm-tracked-1"))
    emulation.set_faults()
    address = tracking.log(TrackedTraining("tm-tracked-1", "flights", {"lr": 0.1}, {"roc_auc": 0.8}, {}))
    assert address == tracking.workspace.studio("tm-tracked-1")
    run = tracking._of_job("tm-tracked-1")
    assert run is not None
    assert {m["key"]: m["value"] for m in run["data"]["metrics"]} == {"roc_auc": 0.8}


def test_a_tracking_whose_answer_was_lost_is_not_written_twice(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = open_tracking(platform(), connected(monkeypatch, emulation))
    training = TrackedTraining("tm-local-2", "trains", {"lr": 0.1}, {"roc_auc": 0.7}, {})
    for calls in range(1, 9):
        monkeypatch.setattr(tracking, "_call", _broken_after(type(tracking)._call.__get__(tracking), calls))
        try:
            tracking.log(training)
        except PlatformError:
            continue
    monkeypatch.undo()
    tracking.log(training)
    runs = tracking._call("runs/search", {"experiment_ids": [tracking._experiment("trains")]})["runs"]
    assert len(runs) == 1
    assert runs[0]["info"]["status"] == "FINISHED"


def _broken_after(call: object, calls: int) -> object:
    """``call``, whose answer is lost the n-th time."""
    left = [calls]

    def broken(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        found = call(*args, **kwargs)  # type: ignore[operator]
        if left[0] == 0:
            raise PlatformError("lost")
        return found

    return broken


def test_the_clouds_of_governments_have_addresses_of_their_own() -> None:
    for name, studio in (("AzureUSGovernment", "https://ml.azure.us"), ("AzurePublicCloud", "https://ml.azure.com")):
        found = account.Workspace(
            None, "c", {"cloud_environment": name}, subscription="s", resource_group="g", workspace="w"
        )
        assert found.studio("j").startswith(studio)
        assert found.manager == account.CLOUDS[name].manager
    with pytest.raises(PlatformError, match="AzureChinaCloud"):
        account.Workspace(None, "c", {"cloud_environment": "Mars"}, subscription="s", resource_group="g", workspace="w")
