"""What Airflow's provider discovery reads of an installed Tidemill."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in Airflow's provider-info schema."""
    from tidemill import __version__

    return {
        "package-name": "tidemill",
        "name": "Tidemill",
        "description": "Machine-learning pipelines from YAML specs.",
        "versions": [__version__],
        "extra-links": ["tidemill.airflow.links.MlflowLink", "tidemill.airflow.links.ReportLink"],
    }
