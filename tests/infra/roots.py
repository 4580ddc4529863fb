"""Specs for the tests of infrastructure, and the roots that are made of them."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from tidemill.cli.infra import needs_at
from tidemill.infra.generate import files_of, root_of
from tidemill.infra.needs import Needs
from tidemill.infra.root import Root
from tidemill.infra.written import write

ROOT: Final = Path(__file__).parents[2]
ACCOUNT: Final = "123456789012"
_DATA: Final[dict[str, Any]] = {
    "data": {
        "source": "include/flights/departures.parquet",
        "key": ["flight_id"],
        "window": {"column": "time_hour", "train": "5 months", "holdout": "1 month"},
    },
    "evaluate": {"task": "classification", "target": "late", "metrics": ["roc_auc", "log_loss"]},
    "promote": {"when": {"roc_auc": {"at_least": 0.65}}},
}
_AWS: Final[dict[str, Any]] = {
    "provider": "aws",
    "region": "eu-west-1",
    "bucket": "s3://acme-ml/flights",
    "role": f"arn:aws:iam::{ACCOUNT}:role/team/ml-training",
}
SAGEMAKER: Final[dict[str, Any]] = {
    "tidemill": 1,
    "platform": _AWS,
    **_DATA,
    "train": {
        "service": "sagemaker",
        "code": "include.flights.resumable:train",
        "image": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/flights:1",
        "resources": {"machine": "ml.m5.xlarge", "spot": {"checkpoint": "s3://acme-ml/checkpoints"}},
    },
}
BATCH: Final[dict[str, Any]] = {
    "tidemill": 1,
    "platform": {**_AWS, "queue": "training", "spot_queue": "training-spot"},
    **_DATA,
    "train": {
        "service": "batch",
        "code": "include.flights.resumable:train",
        "image": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/flights:1",
        "resources": {"cpu": 4, "memory": "8 GiB", "spot": {"checkpoint": "s3://acme-ml/checkpoints"}},
    },
}
VERTEX: Final[dict[str, Any]] = {
    "tidemill": 1,
    "platform": {
        "provider": "gcp",
        "project": "acme-ml",
        "region": "europe-west4",
        "bucket": "gs://acme-ml/flights",
        "service_account": "training@acme-ml.iam.gserviceaccount.com",
    },
    **_DATA,
    "train": {
        "code": "include.flights.resumable:train",
        "image": "europe-west4-docker.pkg.dev/acme-ml/training/flights:1",
        "resources": {"machine": "n1-standard-4", "spot": {"checkpoint": "gs://acme-ml/checkpoints"}},
    },
}
SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000001"
IDENTITY: Final = "11111111-1111-1111-1111-111111111111"
AZURE: Final[dict[str, Any]] = {
    "tidemill": 1,
    "platform": {
        "provider": "azure",
        "subscription": SUBSCRIPTION,
        "resource_group": "ml",
        "workspace": "acme-ml",
        "compute": "cpu-cluster",
        "spot_compute": "spot-cluster",
        "bucket": "abfss://models@acmeml.dfs.core.windows.net/flights",
    },
    **_DATA,
    "train": {
        "code": "include.flights.resumable:train",
        "image": "acmeimages.azurecr.io/flights:1",
        "resources": {"spot": {"checkpoint": "abfss://models@acmeml.dfs.core.windows.net/checkpoints"}},
    },
}
KUBERNETES: Final[dict[str, Any]] = {
    "tidemill": 1,
    "platform": {
        "provider": "kubernetes",
        "namespace": "ml",
        "service_account": "training",
        "bucket": "s3://acme-ml/flights",
        "bucket_connection": "aws_default",
    },
    **_DATA,
    "train": {
        "code": "include.flights.train:train",
        "image": "registry.example.org/acme/flights:1.4",
        "resources": {"cpu": 2, "memory": "4 GiB"},
    },
}
WATCHED: Final[dict[str, Any]] = {
    "schedule": "monthly",
    "start": "2013-07-01",
    "monitor": {
        "schedule": "monthly",
        "drift": {"distance": "psi", "at_least": 0.2, "share": "30%"},
        "performance": {"roc_auc": {"at_least": 0.68}, "log_loss": {"at_most": 0.6}},
    },
}


def changed(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A spec with some values replaced, by dotted key (``platform__bucket`` stands for ``platform.bucket``)."""
    found = copy.deepcopy(spec)
    for key, value in changes.items():
        at, *path, last = [found, *key.split("__")]
        for part in path:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return found


def project(folder: Path, **specs: dict[str, Any]) -> Path:
    """A project with these specs by name, whose code and data are the demonstration's. Returns its ``dags``."""
    dags = folder / "project" / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    code = dags.parent / "include" / "flights"
    if not code.exists():
        code.mkdir(parents=True)
        for file in ("train.py", "resumable.py"):
            shutil.copy(ROOT / "include" / "flights" / file, code)
    for name, spec in specs.items():
        (dags / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return dags


def needs(folder: Path, **specs: dict[str, Any]) -> Needs:
    """What some specs need."""
    return needs_at([project(folder, **specs)])


def root(folder: Path, **specs: dict[str, Any]) -> Root:
    """The root of some specs."""
    return root_of(needs(folder, **specs), "tidemill")


def written(folder: Path, **specs: dict[str, Any]) -> Path:
    """The folder that the root of some specs was written into."""
    output = folder / "out" / "root"
    write(output, files_of(needs(folder, **specs), "tidemill"), force=False)
    return output
