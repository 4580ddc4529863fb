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


class ReportLink(BaseOperatorLink):
    """The report of a window that was judged, in Airflow's own pages."""

    name = "Drift report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; none if the task wrote no report."""
        from airflow.configuration import conf

        from tidemill.airflow.addresses import report_path

        if not getattr(operator, "reported", False):
            return ""
        return conf.get("api", "base_url", fallback="").rstrip("/") + report_path(ti_key.dag_id, ti_key.run_id)
