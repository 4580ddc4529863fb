"""Airflow in the process of the tests: imported once, with a home that is nobody's."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch


@cache
def import_airflow() -> None:
    """Import Airflow with an empty home, since its import writes a configuration and makes folders there.

    The environment is left as it was: other tests look at it.
    """
    if "airflow" in sys.modules:
        return
    home = tempfile.mkdtemp(prefix="tidemill-airflow-")
    settings = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{Path(home) / 'airflow.db'}",
    }
    with patch.dict(os.environ, settings):
        import airflow.configuration
        import airflow.sdk
        import airflow.serialization.serialized_objects  # noqa: F401
