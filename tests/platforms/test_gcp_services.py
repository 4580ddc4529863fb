"""Cloud Monitoring, Vertex AI's experiments and Google's sign-in, over the wire."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.platforms import clouds, gcp
from tidemill.airflow.connections import AirflowConnections
from tidemill.platforms.gcp.jobs import open_jobs
from tidemill.platforms.gcp.metrics import CloudMonitoring, open_metrics
from tidemill.platforms.gcp.storage import open_storage
from tidemill.platforms.gcp.tracking import VertexExperiments, identity, open_tracking
from tidemill.platforms.ports import PlatformError, TrackedTraining


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowConnections]:
    running = gcp.emulation()
    yield clouds.connections(monkeypatch, running)
    running.set_faults()


@pytest.fixture
def metrics(connections: AirflowConnections) -> CloudMonitoring:
    return open_metrics(clouds.platform_of(gcp.PLATFORM), connections)


@pytest.fixture
def tracking(connections: AirflowConnections) -> VertexExperiments:
    return open_tracking(clouds.platform_of(gcp.PLATFORM), connections)


def series(kind: str) -> list[dict[str, Any]]:
    return [found for found in gcp.emulation().report()["series"] if found["type"].endswith(f"/{kind}")]


def test_numbers_arrive_with_their_dimensions(metrics: CloudMonitoring) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    values = {"psi": 0.25, "worst slice": 0.5, "nothing": math.nan, "endless": math.inf}
    metrics.put(values, {"pipeline": "flight_delays", "model-version": "3"}, at)
    (found,) = series("psi")
    assert found["points"] == [[at.timestamp(), 0.25]]
    assert found["labels"] == {"pipeline": "flight_delays", "model_version": "3"}
    assert series("worst_slice")
    assert not series("nothing")
    assert not series("endless")


def test_more_numbers_than_a_call_takes(metrics: CloudMonitoring) -> None:
    metrics.put({f"many-{n}": float(n) for n in range(201)}, {"x" * 200: "y" * 2000}, datetime.now(UTC))
    assert len(series("many-0")) == len(series("many-200")) == 1


def test_no_numbers_make_no_call(metrics: CloudMonitoring) -> None:
    before = gcp.emulation().report()["calls"].get("CreateTimeSeries", 0)
    metrics.put({"none": math.nan}, {}, datetime.now(UTC))
    assert gcp.emulation().report()["calls"].get("CreateTimeSeries", 0) == before


def test_numbers_of_the_past_are_refused_with_the_reason(metrics: CloudMonitoring) -> None:
    with pytest.raises(PlatformError, match=r"from before 25 hours ago.*2013-07-01") as error:
        metrics.put({"old": 1.0}, {}, datetime(2013, 7, 1, tzinfo=UTC))
    assert error.value.fault == "user"


def test_a_throttled_write_is_tried_again_and_a_denied_one_is_told(metrics: CloudMonitoring) -> None:
    gcp.emulation().set_faults(throttle={"CreateTimeSeries": 1})
    metrics.put({"again": 1.0}, {}, datetime.now(UTC))
    assert len(series("again")) == 1
    gcp.emulation().set_faults(denied=["CreateTimeSeries"])
    with pytest.raises(PlatformError, match=r"monitoring\.timeSeries\.create.*roles/monitoring\.metricWriter"):
        metrics.put({"denied": 1.0}, {}, datetime.now(UTC))


def training(**changes: Any) -> TrackedTraining:
    values: dict[str, Any] = {
        "name": "tm-a1b2-flights-1",
        "experiment": "flight_delays",
        "params": {"depth": 3, "names": ["a", "b"], "flag": True, "rate": 0.1, "far": math.inf},
        "metrics": {"roc_auc": 0.7, "broken": math.nan},
        "tags": {"Team": "Fraud & Risk"},
    }
    return TrackedTraining(**{**values, **changes})


def test_a_training_is_a_run_of_an_experiment(tracking: VertexExperiments) -> None:
    address = tracking.log(training())
    again = tracking.log(training(metrics={"roc_auc": 0.8}))
    contexts = gcp.emulation().report()["contexts"]
    store = "projects/acme-ml/locations/europe-west4/metadataStores/default/contexts"
    experiment, run = contexts[f"{store}/flight-delays"], contexts[f"{store}/flight-delays-tm-a1b2-flights-1"]
    assert address == again
    assert address.endswith("/experiments/flight-delays/runs/flight-delays-tm-a1b2-flights-1?project=acme-ml")
    assert (experiment["schemaTitle"], run["schemaTitle"]) == ("system.Experiment", "system.ExperimentRun")
    assert experiment["children"] == [run["name"]]
    assert run["metadata"] == {
        "_params": {"depth": 3.0, "names": '["a", "b"]', "flag": "True", "rate": 0.1, "far": "Infinity"},
        "_metrics": {"roc_auc": 0.8},
        "_state": "COMPLETE",
    }
    assert run["labels"] == {"team": "fraud---risk"}


@pytest.mark.slow
def test_googles_own_sdk_reads_the_run(tracking: VertexExperiments) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    tracking.log(training(name="tm-sdk"))
    aiplatform.init(
        project="acme-ml",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        api_endpoint=gcp.emulation().url,
        api_transport="rest",
    )
    run = aiplatform.ExperimentRun("tm-sdk", experiment="flight-delays")
    assert run.get_params()["depth"] == 3
    assert run.get_metrics() == {"roc_auc": 0.7}


def test_an_answer_that_is_lost_makes_no_second_run(tracking: VertexExperiments) -> None:
    gcp.emulation().set_faults(lose={"CreateContext": 1, "AddContextChildren": 1})
    tracking.log(training(name="tm-lost", experiment="lost"))
    assert sum(name.endswith("/lost-tm-lost") for name in gcp.emulation().report()["contexts"]) == 1


@pytest.mark.parametrize(
    ("name", "found"),
    [("flights", "flights"), ("flight_delays", "flight-delays"), ("x" * 200, None), ("Ünï / code", None), ("_", None)],
)
def test_ids_of_contexts_are_what_the_service_takes(name: str, found: str | None) -> None:
    made = identity(name)
    assert found is None or made == found
    assert 1 <= len(made) <= 128
    assert made[0].isalnum()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert identity(f"{name}2") != made


def key_file(issuer: str) -> dict[str, str]:
    """A service account's key whose tokens come from the emulator."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "acme-ml",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": f"{issuer}@acme-ml.iam.gserviceaccount.com",
        "token_uri": f"{gcp.emulation().url}/token",
    }


@pytest.fixture
def signed(connections: AirflowConnections, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the connection one with a service account's key."""

    def make(issuer: str) -> AirflowConnections:
        url = gcp.emulation().url
        extra = {
            "project": "acme-ml",
            "keyfile_dict": json.dumps(key_file(issuer)),
            "api_endpoint": url,
            "storage_endpoint": url,
        }
        connection = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection)
        return connections

    return make


def test_a_service_accounts_key_signs_the_calls(signed: Any) -> None:
    platform = clouds.platform_of(gcp.PLATFORM)
    before = gcp.emulation().report()["calls"].get("SignIn", 0)
    assert open_jobs(platform, "vertex", signed("training")).find(gcp.job("signed")) is None
    assert list(open_storage(platform, signed("training")).list("gs://acme-models/nothing-here")) == []
    assert gcp.emulation().report()["calls"]["SignIn"] > before


def test_an_account_that_is_gone_is_told_as_credentials_to_renew(signed: Any) -> None:
    platform, connections = clouds.platform_of(gcp.PLATFORM), signed("deleted")
    # Vertex AI is sent a claim of the account's own; Cloud Storage a token that Google's sign-in does not give.
    for call in (
        lambda: open_jobs(platform, "vertex", connections).find(gcp.job("gone")),
        lambda: list(open_storage(platform, connections).list("gs://acme-models/x")),
    ):
        with pytest.raises(PlatformError, match=r"refused.*renew") as error:
            call()
        assert error.value.fault == "user"
        assert "google_cloud_default" in str(error.value)


def test_a_clock_that_is_wrong_is_told(signed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth import _helpers

    platform, connections = clouds.platform_of(gcp.PLATFORM), signed("training")
    real = _helpers.utcnow
    monkeypatch.setattr(_helpers, "utcnow", lambda: real() - timedelta(hours=3))
    for call in (
        lambda: open_jobs(platform, "vertex", connections).find(gcp.job("skewed")),
        lambda: list(open_storage(platform, connections).list("gs://acme-models/x")),
    ):
        with pytest.raises(PlatformError, match="clock") as error:
            call()
        assert error.value.fault == "user"


def test_a_token_that_is_refused_is_told(connections: AirflowConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.oauth2.credentials import Credentials

    monkeypatch.setattr(AirflowConnections, "credentials", lambda *_: Credentials(token="expired"))
    jobs = open_jobs(clouds.platform_of(gcp.PLATFORM), "vertex", connections)
    started = time.monotonic()
    with pytest.raises(PlatformError, match="renew") as error:
        jobs.find(gcp.job("expired"))
    assert error.value.fault == "user"
    assert time.monotonic() - started < 30


def test_a_connection_or_project_that_is_missing_is_named(
    connections: AirflowConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PlatformError, match="nowhere") as error:
        open_storage(clouds.platform_of({**gcp.PLATFORM, "connection": "nowhere"}), connections)
    assert error.value.fault == "user"
    values = {**gcp.PLATFORM, "project": None}
    assert open_storage(clouds.platform_of(values), connections).account.project == "acme-ml"
    monkeypatch.setenv("AIRFLOW_CONN_BARE", '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}')
    with pytest.raises(PlatformError, match=r"platform\.project"):
        open_storage(clouds.platform_of({**values, "connection": "bare"}), connections)
    with pytest.raises(PlatformError, match=r"platform\.region"):
        open_jobs(clouds.platform_of({**gcp.PLATFORM, "region": None}), "vertex", connections)
