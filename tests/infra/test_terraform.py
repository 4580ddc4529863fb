"""The roots, judged by the real Terraform: their format, and every argument, type, block and reference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.roots import (
    AZURE,
    BATCH,
    IDENTITY,
    KUBERNETES,
    ROOT,
    SAGEMAKER,
    VERTEX,
    WATCHED,
    changed,
    needs,
    written,
)
from tests.infra.terraform import mistakes, terraform, unformatted
from tidemill.cli.infra import needs_at
from tidemill.infra.elsewhere import at_place
from tidemill.infra.generate import files_of
from tidemill.infra.hcl import Attribute, Block, document
from tidemill.infra.written import write

pytestmark = [
    pytest.mark.terraform,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="needs Terraform"),
]

ROOTS: Final[dict[str, dict[str, Any]]] = {
    "sagemaker": {"flights": SAGEMAKER},
    "watched": {"flights": {**SAGEMAKER, **WATCHED}},
    "batch": {"flights": BATCH},
    "batch_gpu": {"flights": changed(BATCH, train__resources__gpu=1, platform__spot_queue="gpu-spot")},
    "both": {"flights": SAGEMAKER, "ships": BATCH},
    "network": {
        "flights": changed(
            SAGEMAKER,
            platform__network={"subnets": ["subnet-0a1b", "subnet-2c3d"], "security_groups": ["sg-0a1b"]},
            platform__encryption_key="alias/acme",
            train__track="sagemaker",
        )
    },
    "processing": {
        "flights": changed(
            SAGEMAKER,
            platform__processing={
                "machine": "ml.m5.xlarge",
                "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ml:1",
            },
            data__version="object-store",
            data__keep="1 year",
        )
    },
    "existing": {
        "flights": changed(
            BATCH, platform__existing=["bucket", "role", "queue", "spot_queue", "image", "logs"], train__timeout="2 h"
        )
    },
    "connections": {"flights": SAGEMAKER, "ships": changed(BATCH, platform__connection="Other account")},
    "vertex": {"flights": VERTEX},
    "vertex_watched": {
        "flights": changed({**VERTEX, **WATCHED}, train__track="vertex", data__version="object-store"),
        "ships": changed(VERTEX, platform__connection="Other account", platform__service_account=None),
    },
    "vertex_key": {
        "flights": changed(
            VERTEX,
            platform__encryption_key="projects/acme-keys/locations/europe-west4/keyRings/ml/cryptoKeys/ml",
            platform__service_account="training@acme-people.iam.gserviceaccount.com",
            platform__network={"name": "projects/123456789012/global/networks/ml"},
            data__version="object-store",
            data__keep="1 year",
        )
    },
    "vertex_existing": {
        "flights": changed(VERTEX, platform__existing=["bucket", "service_account", "image", "logs"]),
    },
    "azure": {"flights": AZURE},
    "azure_watched": {"flights": changed({**AZURE, **WATCHED}, train__track="azureml", platform__identity=IDENTITY)},
    "azure_versions": {
        "flights": changed(AZURE, data__version="object-store", data__keep="1 year"),
        "ships": changed(AZURE, platform__workspace="Ships", train__image="azureml:ships:1"),
    },
    "azure_existing": {
        "flights": changed(
            {**AZURE, **WATCHED},
            platform__existing=["resource_group", "workspace", "compute", "spot_compute", "bucket", "image", "logs"],
            data__version="object-store",
            data__keep="1 year",
        ),
        "ships": changed(
            AZURE,
            platform__existing=["resource_group", "workspace", "identity", "bucket", "image"],
            platform__identity=IDENTITY,
            platform__compute="ships",
            platform__spot_compute=None,
            train__resources__spot=None,
        ),
    },
    "kubernetes": {"flights": KUBERNETES},
    "volume": {
        "flights": changed(
            KUBERNETES,
            platform__bucket=None,
            platform__bucket_connection=None,
            platform__volume={"claim": "ml-data", "path": "/mnt/ml"},
            train__resources={"gpu": 1, "count": 2},
        )
    },
    "kubernetes_existing": {
        "flights": changed(KUBERNETES, platform__existing=["namespace", "service_account"]),
        "ships": changed(KUBERNETES, platform__namespace="other", platform__service_account=None),
    },
}


@pytest.mark.parametrize("name", ROOTS)
def test_a_root_is_formatted_and_valid(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, **ROOTS[name])
    assert unformatted(folder) == ""
    assert mistakes(folder, ROOTS[name]["flights"]["platform"]["provider"]) == []


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure", "kubernetes"])
def test_the_examples_are_formatted_and_valid(provider: str, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    needed = needs_at([ROOT / "docs" / "examples" / f"{provider}.yaml"])
    write(folder, files_of(needed, "tidemill"), force=False)
    assert unformatted(folder) == ""
    assert mistakes(folder, provider) == []


def test_a_root_of_another_place_is_formatted_and_valid(tmp_path: Path) -> None:
    elsewhere = [
        {
            "region": "us-east-1",
            "bucket": "s3://acme-ml-us",
            "checkpoint": "s3://acme-ml-us/checkpoints",
            "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/flights:1",
        }
    ]
    needed = at_place(needs(tmp_path, flights=changed(SAGEMAKER, platform__fallback=elsewhere)), 1)
    folder = tmp_path / "root"
    write(folder, files_of(needed, "tidemill-place-1"), force=False)
    assert unformatted(folder) == ""
    assert mistakes(folder, "aws") == []


PLANTED: Final[dict[str, tuple[str, str, str, str]]] = {
    "an unknown argument": (
        "modules/logs/main.tf",
        "retention_in_days =",
        "retention_days =",
        'named "retention_days" is not expected',
    ),
    "an unknown argument of a block": (
        "modules/bucket/main.tf",
        "sse_algorithm ",
        "algorithm ",
        'named "algorithm" is not expected',
    ),
    "a wrong type": (
        "modules/bucket/main.tf",
        'status = "Enabled"\n\n    filter {}',
        "status = []\n\n    filter {}",
        "string required",
    ),
    "a wrong type of a module's variable": (
        "variables.tf",
        "default     = 365",
        'default     = "a year"',
        "a number is required",
    ),
    "a missing argument": (
        "modules/bucket/main.tf",
        '      sse_algorithm     = "aws:kms"\n',
        "",
        '"sse_algorithm" is required',
    ),
    "a missing block": (
        "modules/bucket/main.tf",
        'versioning_configuration {\n    status = "Enabled"\n  }',
        "",
        'At least 1 "versioning_configuration" blocks are required',
    ),
    "a block too many": (
        "modules/bucket/main.tf",
        "versioning_configuration {",
        'versioning_configuration {\n    status = "Enabled"\n  }\n  versioning_configuration {',
        'No more than 1 "versioning_configuration" blocks are allowed',
    ),
    "a reference to nothing": ("main.tf", "module.key.arn", "module.keys.arn", 'named "keys" is declared'),
    "a reference to no output": ("main.tf", "module.key.arn", "module.key.id", '"id"'),
    "a reference to no attribute": (
        "modules/bucket/main.tf",
        "value       = aws_s3_bucket.this.id",
        "value       = aws_s3_bucket.this.ident",
        'attribute named "ident"',
    ),
    "a reference to no variable": ("main.tf", "var.log_days", "var.logs_days", 'the name "logs_days" has not'),
    "a variable that a module does not have": ("main.tf", "untagged_days =", "untagged =", 'named "untagged"'),
    "an unknown resource": (
        "modules/logs/main.tf",
        '"aws_cloudwatch_log_group"',
        '"aws_log_group"',
        "does not support resource type",
    ),
}


PLANTED_AT_GOOGLE: Final[dict[str, tuple[str, str, str, str]]] = {
    "an unknown argument": (
        "modules/bucket/main.tf",
        "public_access_prevention ",
        "public_access ",
        'named "public_access" is not expected',
    ),
    "a wrong type": ("modules/logs/main.tf", "= var.retention_days", '= "a year"', "a number is required"),
    "a missing argument": (
        "modules/key/main.tf",
        '  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"\n',
        "",
        '"role" is required',
    ),
    "a missing block": (
        "modules/bucket/main.tf",
        'action {\n      type = "AbortIncompleteMultipartUpload"\n    }',
        "",
        'At least 1 "action" blocks are required',
    ),
    "a block of a resource of another kind": (
        "modules/repository/main.tf",
        "docker_config {",
        "maven_settings {",
        '"maven_settings" are not expected',
    ),
    "a reference to no attribute": (
        "modules/account/main.tf",
        "google_service_account.this.email",
        "google_service_account.this.mail",
        'attribute named "mail"',
    ),
    "a role without its permissions": (
        "access.tf",
        'permissions = ["aiplatform.customJobs.create"]',
        "actions = []",
        '"permissions" is required',
    ),
    "an unknown resource": (
        "modules/logs/main.tf",
        '"google_logging_project_bucket_config"',
        '"google_logging_bucket"',
        "does not support resource type",
    ),
}


@pytest.mark.parametrize("name", PLANTED_AT_GOOGLE)
def test_a_mistake_planted_at_google_is_found(name: str, tmp_path: Path) -> None:
    _planted(written(tmp_path, flights=VERTEX), *PLANTED_AT_GOOGLE[name], provider="gcp")


PLANTED_AZURE: Final[dict[str, tuple[str, str, str, str]]] = {
    "an unknown argument": (
        "modules/storage/main.tf",
        "is_hns_enabled  ",
        "hns_enabled     ",
        'named "hns_enabled" is not expected',
    ),
    "a wrong type": (
        "modules/cluster/main.tf",
        "max_node_count                       = var.nodes",
        'max_node_count                       = "some"',
        "a number is required",
    ),
    "a missing argument": ("modules/cluster/main.tf", "vm_size ", "# ", '"vm_size" is required'),
    "a missing block": (
        "modules/workspace/main.tf",
        'identity {\n    type = "SystemAssigned"\n  }',
        "",
        'At least 1 "identity" blocks are required',
    ),
    "a block too many": (
        "modules/cluster/main.tf",
        "scale_settings {",
        'identity {\n    type = "None"\n  }\n\n  scale_settings {',
        'No more than 1 "identity" blocks are allowed',
    ),
    "a reference to no attribute of a block": (
        "modules/cluster/main.tf",
        "identity[0].principal_id",
        "identity[0].principal",
        'attribute named "principal"',
    ),
    "a reference to nothing": ("main.tf", "module.monitoring.", "module.insights.", 'named "insights" is declared'),
    "a role that is not there": (
        "main.tf",
        "azurerm_role_definition.jobs.",
        "azurerm_role_definition.job.",
        '"azurerm_role_definition" "job" has not been declared',
    ),
    "an unknown resource": (
        "modules/registry/main.tf",
        '"azurerm_container_registry"',
        '"azurerm_registry"',
        "does not support resource type",
    ),
}


@pytest.mark.parametrize("name", PLANTED_AZURE)
def test_a_mistake_planted_on_azure_is_found(name: str, tmp_path: Path) -> None:
    _planted(written(tmp_path, flights=AZURE), *PLANTED_AZURE[name], provider="azure")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name: str, tmp_path: Path) -> None:
    _planted(written(tmp_path, flights=SAGEMAKER), *PLANTED[name], provider="aws")


def _planted(folder: Path, path: str, before: str, after: str, told: str, *, provider: str) -> None:
    text = (folder / path).read_text()
    assert before in text
    (folder / path).write_text(text.replace(before, after, 1))
    assert any(told in mistake for mistake in mistakes(folder, provider)), mistakes(folder, provider)


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path) -> None:
    texts = [
        'plain "quoted" \\ back',
        "${not} an %{expression}",
        "two\nlines\tand\r",
        "Zürich ✈ \U0001f6eb",
        "\x07\u200b",
    ]
    values: dict[str, Any] = {
        "texts": texts,
        "none": None,
        "yes": True,
        "whole": 12345678901234,
        "part": 0.1,
        "empty": {},
        "long": ["x" * 60] * 3,
        "deep": {"a key": [{"b": [1, 2]}, {"c": {"d": "e"}}], "k": "v"},
    }
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "main.tf").write_text(
        document([Block("locals", (), (Attribute("all", values),), "said\nbefore")])
    )
    assert unformatted(tmp_path / "root") == ""
    told = terraform(tmp_path / "root", "console", said="jsonencode(local.all)\n")
    assert json.loads(json.loads(told.stdout)) == values, told.stderr
