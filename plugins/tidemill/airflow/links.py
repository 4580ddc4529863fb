"""Links from a task in Airflow to what it made.

Airflow 3.3 asks for a task's links in the task's own process and stores them as XComs: when the task has finished, and
also when it defers, so that a task that waits for its job shows where that job is.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class _Told(BaseOperatorLink):
    """An address that the step has told (``StepContext.links``)."""

    what: str

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; empty, and so not shown, where there is none.

        What was stored when the task deferred stays, unless the step has said something else since: it does not get
        to that if the wait itself fails.
        """
        told: str | None = getattr(operator, "links", {}).get(self.what)
        return (ti_key.xcom_pull(key=self.xcom_key) or "") if told is None else told


class MlflowLink(_Told):
    """The run or model version of a task, in MLflow's own pages; none where MLflow is no server."""

    name = "MLflow"
    what = "mlflow"


class ConsoleLink(_Told):
    """The task's job in its service's console."""

    name = "Job"
    what = "console"


class JobLogLink(_Told):
    """What the task's job prints."""

    name = "Job log"
    what = "log"


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
