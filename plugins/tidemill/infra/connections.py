"""The Airflow connections that fit a root, as files: never with a secret in them.

The platform's connections need none, since Airflow's side signs as what it runs as (a role, a service account, a
managed identity). What does need one, the ledger above all, is named by reference to a secret store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from tidemill.infra.needs import Asked, InfraProblem, Needs, Pipeline
from tidemill.infra.root import MARK, comment

SETTINGS: Final = "airflow/airflow_settings.yaml"
VARIABLES: Final = "airflow/connections.env"
SECRETS: Final = ("tidemill_ledger", "tidemill_mlflow")
"""Connections of Tidemill's own that may hold a password."""
_TYPES: Final = {"aws": "aws", "gcp": "google_cloud_platform", "azure": "azure", "kubernetes": "kubernetes"}
_BUCKETS: Final = {"s3": "aws", "gs": "google_cloud_platform", "abfss": "azure"}
_VARIABLE: Final = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Connection:
    """A connection without a secret, by its type and its extra."""

    conn_id: str
    conn_type: str
    extra: Mapping[str, str | bool]
    asked: tuple[Asked, ...]


def connections(needs: Needs) -> list[Connection]:
    """The connections that pipelines use, in order. At another place: those that are not the platform's own.

    Raises:
        InfraProblem: one would have to be of two types, or of two projects.
    """
    found: dict[str, Connection] = {}
    for pipeline in needs.pipelines:
        at_home = {one.conn_id for one in _of(pipeline.home)} if pipeline.home is not None else set()
        for one in _of(pipeline):
            if one.conn_id in at_home:
                continue
            before = found.get(one.conn_id, one)
            if (before.conn_type, before.extra) != (one.conn_type, one.extra):
                raise InfraProblem(
                    f"{before.asked[0]} and {one.asked[0]} name one connection, {one.conn_id}, for two things: "
                    "give one of them another connection"
                )
            found[one.conn_id] = Connection(
                one.conn_id, one.conn_type, one.extra, tuple(dict.fromkeys((*before.asked, *one.asked)))
            )
    return [found[conn_id] for conn_id in sorted(found)]


def files(needs: Needs) -> dict[str, str]:
    """The files by path: entries of Astronomer's ``airflow_settings.yaml``, and environment variables.

    Raises:
        InfraProblem: as ``connections``.
    """
    found = connections(needs)
    if not found:
        return {}
    return {SETTINGS: _settings(found), VARIABLES: "\n".join(_variables(needs, found)) + "\n"}


def _of(pipeline: Pipeline) -> Iterator[Connection]:
    """The connections of a pipeline."""
    platform = pipeline.platform
    every: dict[str, dict[str, str | bool | None]] = {
        "aws": {"region_name": platform.region},
        "gcp": {"project": platform.project},
        "azure": {"subscriptionId": platform.subscription},
        "kubernetes": {"in_cluster": True},
    }
    told = {key: value for key, value in every[platform.provider].items() if value is not None}
    yield Connection(pipeline.connection, _TYPES[platform.provider], told, (pipeline.asked("platform.connection"),))
    if platform.bucket_connection is not None:
        kind = _BUCKETS[(platform.bucket or "").partition(":")[0]]
        yield Connection(platform.bucket_connection, kind, {}, (pipeline.asked("platform.bucket_connection"),))


def _settings(found: list[Connection]) -> str:
    lines = [
        f"# {MARK}",
        "# Entries for the airflow_settings.yaml of an Astronomer project; none holds a secret.",
        "airflow:",
        "  connections:",
    ]
    for one in found:
        entry: dict[str, object] = {"conn_id": one.conn_id, "conn_type": one.conn_type}
        if one.extra:
            entry["conn_extra"] = dict(one.extra)
        lines += [f"    # {line}" for line in comment(one.asked).splitlines()]
        text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000)
        lines += [f"    {line}" for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _variables(needs: Needs, found: list[Connection]) -> Iterator[str]:
    yield f"# {MARK}"
    yield "# For the environment of Airflow's scheduler, workers and triggerer; copy what you need."
    yield ""
    for one in found:
        yield from (f"# {line}" for line in comment(one.asked).splitlines())
        value = json.dumps({"conn_type": one.conn_type, **({"extra": dict(one.extra)} if one.extra else {})})
        if _VARIABLE.fullmatch(one.conn_id):
            yield f"AIRFLOW_CONN_{one.conn_id.upper()}={value}"
        else:
            yield f"# No variable can be called so: add the connection {one.conn_id} by {SETTINGS}, or rename it."
        if needs.provider == "kubernetes" and one.conn_type == "aws":
            yield "# EKS tells pods their region; elsewhere add `region_name` to the extra."
        yield ""
    yield from _STORES[needs.provider](needs.pipelines[0])


def _backend(
    store: str, backend: str, kwargs: Mapping[str, str | None], names: str, *, dashes: bool = False
) -> Iterator[str]:
    """The variables that have Airflow look up connections in a secret store; ``dashes``: its names have no ``_``."""
    called = " and ".join(names.format(one.replace("_", "-") if dashes else one) for one in SECRETS)
    yield f"# Connections with a password are kept in {store}, where Airflow looks them up by name:"
    yield f"# {called}."
    yield "# Whoever Airflow runs as has to be allowed to read these."
    yield f"AIRFLOW__SECRETS__BACKEND={backend}"
    yield f"AIRFLOW__SECRETS__BACKEND_KWARGS={json.dumps(kwargs)}"


def _aws(pipeline: Pipeline) -> Iterator[str]:
    return _backend(
        "AWS Secrets Manager",
        "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
        {
            "connections_prefix": "airflow/connections",
            "connections_lookup_pattern": "^tidemill_",
            "variables_prefix": None,
            "config_prefix": None,
            "region_name": pipeline.platform.region,
        },
        "airflow/connections/{}",
    )


def _gcp(pipeline: Pipeline) -> Iterator[str]:
    return _backend(
        "Secret Manager",
        "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend",
        {
            "connections_prefix": "airflow-connections",
            "variables_prefix": None,
            "config_prefix": None,
            "project_id": pipeline.platform.project,
        },
        "airflow-connections-{}",
    )


def _azure(pipeline: Pipeline) -> Iterator[str]:
    yield "# Name the key vault before you use these two."
    yield from _backend(
        "Key Vault",
        "airflow.providers.microsoft.azure.secrets.key_vault.AzureKeyVaultBackend",
        {
            "connections_prefix": "airflow-connections",
            "variables_prefix": None,
            "config_prefix": None,
            "vault_url": "https://YOUR-VAULT.vault.azure.net",
        },
        "airflow-connections-{}",
        dashes=True,
    )


def _kubernetes(pipeline: Pipeline) -> Iterator[str]:
    """Airflow has no secrets backend for a cluster's own secrets, but pods have variables by reference to them."""
    yield "# Connections with a password are kept in a Secret of the cluster, here `airflow-connections`, and pods are"
    yield "# told them by reference, in the values of Airflow's Helm chart:"
    yield "#"
    yield "#   secret:"
    for one in SECRETS:
        yield f"#     - {{envName: AIRFLOW_CONN_{one.upper()}, secretName: airflow-connections, secretKey: {one}}}"


_STORES: Final = {"aws": _aws, "gcp": _gcp, "azure": _azure, "kubernetes": _kubernetes}
