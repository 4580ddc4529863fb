"""Where the pages are, for those who link to them without importing them."""

from __future__ import annotations

from urllib.parse import quote

PREFIX = "/tidemill"
REPORT_FILE = "monitor/report.html"
"""The report, in the folder of its run."""


def report_path(dag_id: str, run_id: str) -> str:
    """The path of a run's drift report, from the address of Airflow's API server."""
    return f"{PREFIX}/reports/{quote(dag_id, safe='')}/{quote(run_id, safe='')}"
