"""A platform for each service, and what a spec's ``train:`` says of it: as small as the checks allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLATFORMS: Mapping[str, dict[str, Any]] = {
    "sagemaker": {
        "provider": "aws",
        "region": "eu-west-1",
        "bucket": "s3://acme-ml",
        "role": "arn:aws:iam::123456789012:role/ml-training",
        "queue": "ml",
    },
    "batch": {},
    "vertex": {"provider": "gcp", "region": "europe-west4", "project": "acme-ml", "bucket": "gs://acme-models"},
    "azureml": {
        "provider": "azure",
        "subscription": "00000000-0000-0000-0000-000000000000",
        "resource_group": "ml",
        "workspace": "acme-ml",
        "compute": "cpu-cluster",
        "bucket": "abfss://models@acmeml.dfs.core.windows.net",
    },
    "kubernetes": {
        "provider": "kubernetes",
        "namespace": "ml",
        "bucket": "s3://acme-pods",
        "bucket_connection": "pods_bucket",
    },
}
TRAINS = {
    "local": "",
    "sagemaker": "{service: sagemaker, image: 'a/b:1', resources: {machine: ml.m5.xlarge}}",
    "batch": "{service: batch, image: 'a/b:1', resources: {cpu: 1, memory: 2 GiB}}",
    "vertex": "{image: 'a/b:1', resources: {machine: n1-standard-4}}",
    "azureml": "{image: 'a/b:1'}",
    "kubernetes": "{image: 'a/b:1'}",
}
