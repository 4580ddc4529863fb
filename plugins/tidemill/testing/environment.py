"""Connections and variables as environment variables, where Airflow looks first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def airflow_variables(connections: Mapping[str, str], variables: Mapping[str, Any]) -> dict[str, str]:
    """The environment that gives Airflow these connections (URIs or JSON by id) and variables (what is no text is
    written as JSON)."""
    return {
        **{f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections.items()},
        **{
            f"AIRFLOW_VAR_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in variables.items()
        },
    }
