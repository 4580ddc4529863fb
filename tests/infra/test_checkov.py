"""The roots, judged by checkov: clean, or with the reason beside what is not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.roots import AZURE, BATCH, KUBERNETES, ROOT, SAGEMAKER, VERTEX, WATCHED, changed, written

CHECKOV: Final = ROOT / ".venv-checkov" / "bin" / "checkov"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOV.exists(), reason="needs scripts/setup.sh checkov"),
]
ROOTS: Final[dict[str, dict[str, Any]]] = {
    "aws": {
        "flights": changed(
            {**SAGEMAKER, **WATCHED},
            train__track="sagemaker",
            platform__network={"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]},
        ),
        "ships": BATCH,
    },
    "gcp": {"flights": changed({**VERTEX, **WATCHED}, train__track="vertex"), "ships": VERTEX},
    "azure": {"flights": changed({**AZURE, **WATCHED}, data__version="object-store"), "ships": AZURE},
    "kubernetes": {"flights": KUBERNETES},
}


def judged(folder: Path) -> dict[str, Any]:
    """What checkov says, without a network."""
    options = ("--framework", "terraform", "--skip-download", "--output", "json", "--compact")
    told = subprocess.run(
        [CHECKOV, "--directory", folder, *options],
        env={"PATH": os.environ["PATH"], "HOME": str(folder.parent), "LOG_LEVEL": "ERROR"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("provider", ROOTS)
def test_a_root_is_clean_or_says_why_not(provider: str, tmp_path: Path) -> None:
    found = judged(written(tmp_path, **ROOTS[provider]))
    assert found["summary"]["parsing_errors"] == 0
    assert [(one["check_id"], one["resource"]) for one in found["results"]["failed_checks"]] == []
    skipped = found["results"]["skipped_checks"]
    assert all(len(one["check_result"]["suppress_comment"]) > 30 for one in skipped)
    # No exception outlives what it was made for.
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.tf")]
    written_down = {
        line.partition("checkov:skip=")[2].partition(":")[0] for text in texts for line in text.splitlines()
    }
    assert written_down - {""} == {one["check_id"] for one in skipped}
    assert found["summary"]["passed"] >= {"aws": 140, "gcp": 20, "azure": 30, "kubernetes": 7}[provider]


def test_a_bucket_that_is_open_is_found(tmp_path: Path) -> None:
    folder = written(tmp_path, flights=SAGEMAKER)
    file = folder / "modules" / "bucket" / "main.tf"
    file.write_text(file.read_text().replace("block_public_acls       = true", "block_public_acls       = false"))
    failed = judged(folder)["results"]["failed_checks"]
    assert "CKV_AWS_53" in {one["check_id"] for one in failed}
