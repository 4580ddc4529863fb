"""Links from a task in Airflow to what it made."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class MlflowLink(BaseOperatorLink):
    """The run or model version of a task, in MLflow's own pages; none where MLflow is no server."""

    name = "MLflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; Airflow asks for it in the task's process, when the task has finished."""
        return getattr(operator, "mlflow_address", None) or ""
