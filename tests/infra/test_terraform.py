"""The roots, judged by the real Terraform: their format, and every argument, type, block and reference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.roots import BATCH, KUBERNETES, ROOT, SAGEMAKER, WATCHED, changed, needs, written
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


@pytest.mark.parametrize("provider", ["aws", "kubernetes"])
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


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, flights=SAGEMAKER)
    path, before, after, told = PLANTED[name]
    text = (folder / path).read_text()
    assert before in text
    (folder / path).write_text(text.replace(before, after, 1))
    assert any(told in mistake for mistake in mistakes(folder, "aws")), mistakes(folder, "aws")


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
