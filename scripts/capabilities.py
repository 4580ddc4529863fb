"""Write what the clouds' own SDKs say of machine types, regions and limits into the package: ``make capabilities``.

The checks read these small files without importing an SDK and without a network.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1] / "plugins" / "tidemill" / "platforms" / "capabilities"


def aws() -> dict[str, Any]:
    """botocore's service models and its table of endpoints."""
    import botocore.session

    session = botocore.session.get_session()
    model = session.get_service_model("sagemaker")
    tags, subnets, groups = (model.shape_for(n).metadata["max"] for n in ("TagList", "Subnets", "SecurityGroupIds"))
    partitions = session.get_available_partitions()
    return {
        "source": f"botocore {version('botocore')}: service models of SageMaker and Batch, endpoints",
        "regions": {
            service: sorted({r for p in partitions for r in session.get_available_regions(service, p)})
            for service in ("sagemaker", "batch")
        },
        "machines": {
            "sagemaker": list(model.shape_for("TrainingInstanceType").enum),
            "sagemaker-processing": list(model.shape_for("ProcessingInstanceType").enum),
        },
        "patterns": {"role": model.shape_for("RoleArn").metadata["pattern"]},
        "limits": {"tags": tags, "subnets": subnets, "security_groups": groups},
    }


def gcp() -> dict[str, Any]:
    """The Vertex AI SDK's constants and types."""
    from google.cloud.aiplatform.constants import base
    from google.cloud.aiplatform_v1.types import AcceleratorType

    return {
        "source": f"google-cloud-aiplatform {version('google-cloud-aiplatform')}: SUPPORTED_REGIONS, AcceleratorType",
        "regions": {"vertex": sorted(base.SUPPORTED_REGIONS)},
        "accelerators": [a.name for a in AcceleratorType if a.value],
        # "Resource labels" in Google Cloud's documentation, read in November 2026.
        "limits": {"tags": 64},
    }


def main() -> None:
    """Write a file for each cloud whose SDK is installed."""
    for name, read in (("aws", aws), ("gcp", gcp)):
        value = {**read(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        (HERE / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {value['source']}")


if __name__ == "__main__":
    main()
