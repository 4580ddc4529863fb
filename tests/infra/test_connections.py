"""Connections for Airflow that fit a root: read by Airflow's own classes, and without a secret."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.infra.roots import KUBERNETES, SAGEMAKER, changed, needs
from tidemill.airflow.connections import AirflowConnections
from tidemill.infra.connections import SETTINGS, VARIABLES, connections, files
from tidemill.infra.elsewhere import at_place
from tidemill.infra.needs import InfraProblem

_DATA: Final = {key: SAGEMAKER[key] for key in ("data", "evaluate", "promote")}
SPECS: Final[dict[str, dict[str, Any]]] = {
    "aws": SAGEMAKER,
    "kubernetes": KUBERNETES,
    "gcp": {
        "tidemill": 1,
        "platform": {"provider": "gcp", "region": "europe-west4", "project": "acme-ml", "bucket": "gs://acme-ml"},
        **_DATA,
        "train": {
            "code": "include.flights.train:train",
            "image": "europe-docker.pkg.dev/acme-ml/flights/train:1",
            "resources": {"machine": "n2-standard-4"},
        },
    },
    "azure": {
        "tidemill": 1,
        "platform": {
            "provider": "azure",
            "subscription": "11111111-2222-3333-4444-555555555555",
            "resource_group": "ml",
            "workspace": "acme-ml",
            "compute": "cpu",
            "bucket": "abfss://models@acme.dfs.core.windows.net",
        },
        **_DATA,
        "train": {"code": "include.flights.train:train", "image": "acme.azurecr.io/flights:1"},
    },
}
EXPECTED: Final[dict[str, dict[str, tuple[str, dict[str, Any]]]]] = {
    "aws": {"aws_default": ("aws", {"region_name": "eu-west-1"})},
    "kubernetes": {"kubernetes_default": ("kubernetes", {"in_cluster": True}), "aws_default": ("aws", {})},
    "gcp": {"google_cloud_default": ("google_cloud_platform", {"project": "acme-ml"})},
    "azure": {"azure_default": ("azure", {"subscriptionId": "11111111-2222-3333-4444-555555555555"})},
}


def variables(text: str) -> dict[str, str]:
    """What Docker and Compose read in a file of variables."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("provider", SPECS)
def test_airflow_reads_the_variables(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = files(needs(tmp_path, flights=SPECS[provider]))
    for name, value in variables(written[VARIABLES]).items():
        if name.startswith("AIRFLOW_CONN_"):
            monkeypatch.setenv(name, value)
    for conn_id, (kind, extra) in EXPECTED[provider].items():
        found = AirflowConnections().get(conn_id)
        assert found is not None
        assert (found.conn_type, dict(found.extra)) == (kind, extra)
        assert (found.login, found.password, found.host) == (None, None, None)


@pytest.mark.parametrize("provider", SPECS)
def test_the_settings_are_as_astronomer_has_them(provider: str, tmp_path: Path) -> None:
    from airflow.sdk import Connection

    text = files(needs(tmp_path, flights=SPECS[provider]))[SETTINGS]
    (section,) = yaml.safe_load(text).values()
    assert list(section) == ["connections"]
    told = {}
    for entry in section["connections"]:
        assert set(entry) <= {"conn_id", "conn_type", "conn_extra"}
        plain = {"conn_type": entry["conn_type"], "extra": entry.get("conn_extra", {})}
        made = Connection.from_json(json.dumps(plain), conn_id=entry["conn_id"])
        told[made.conn_id] = (made.conn_type, made.extra_dejson)
    assert told == EXPECTED[provider]


@pytest.mark.parametrize("provider", SPECS)
def test_no_secret_is_written(provider: str, tmp_path: Path) -> None:
    for text in files(needs(tmp_path, flights=SPECS[provider])).values():
        plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        assert not re.search(
            r"(?i)password|login|token|secret_?(access|key)|access_key|keyfile|://[^/ ]+:[^/ ]+@", plain
        )


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
def test_the_secret_store_is_one_that_airflow_knows(provider: str, tmp_path: Path) -> None:
    told = variables(files(needs(tmp_path, flights=SPECS[provider]))[VARIABLES])
    module, _, name = told["AIRFLOW__SECRETS__BACKEND"].rpartition(".")
    backend = getattr(import_module(module), name)
    given = json.loads(told["AIRFLOW__SECRETS__BACKEND_KWARGS"])
    # `region_name` is the session's: AWS' backend hands on what it does not know.
    assert set(given) - {"region_name"} <= set(inspect.signature(backend.__init__).parameters)
    if provider == "azure":
        assert (
            backend.build_path("airflow-connections", "tidemill_ledger")
            in files(needs(tmp_path, flights=SPECS["azure"]))[VARIABLES]
        )
    if provider == "aws":
        made = backend(**given)
        assert made.build_path("airflow/connections", "tidemill_ledger", "/") == "airflow/connections/tidemill_ledger"
        # Whatever else is looked up does not go to the store.
        assert made.get_variable("anything") is None
        assert made.get_conn_value("aws_default") is None


def test_a_name_that_no_variable_can_have_is_told(tmp_path: Path) -> None:
    written = files(needs(tmp_path, flights=changed(SAGEMAKER, platform__connection="other account")))
    assert not any(name.startswith("AIRFLOW_CONN_") for name in variables(written[VARIABLES]))
    assert "the connection other account" in written[VARIABLES]
    assert "conn_id: other account" in written[SETTINGS]


def test_one_connection_for_two_clouds_is_refused(tmp_path: Path) -> None:
    other = changed(KUBERNETES, platform__bucket="gs://acme-ml")
    with pytest.raises(InfraProblem, match=r"name one connection, aws_default, for two things"):
        connections(needs(tmp_path, flights=KUBERNETES, ships=other))


def test_another_place_has_its_own_connections_alone(tmp_path: Path) -> None:
    places = [{"connection": "second_cluster", "after": "1 h"}, {"namespace": "second", "after": "1 h"}]
    asked = needs(tmp_path, flights=changed(KUBERNETES, platform__fallback=places))
    assert [one.conn_id for one in connections(at_place(asked, 1))] == ["second_cluster"]
    assert files(at_place(asked, 2)) == {}
