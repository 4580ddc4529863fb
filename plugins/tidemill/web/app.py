"""The pages below ``/tidemill``, which Airflow's API server mounts."""

from __future__ import annotations

import re
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.configuration import conf
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, Response

from tidemill.airflow.addresses import REPORT_FILE
from tidemill.project import Project, lies_in

app = FastAPI(title="Tidemill", docs_url=None, redoc_url=None, openapi_url=None)

_DAG_ID = re.compile(r"[A-Za-z0-9_.-]{1,250}")
_HEADERS = {
    # A report is a page of names and numbers: whatever a column was called, nothing in it runs.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}


@app.get("/reports/{dag_id}/{run_id:path}", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def report(dag_id: str, run_id: str) -> Response:
    """The drift report of a monitor's run: for whoever may see the runs of its DAG."""
    project = Project.of(Path(conf.get_mandatory_value("core", "dags_folder")))
    if not _DAG_ID.fullmatch(dag_id) or set(dag_id) == {"."}:
        raise HTTPException(404, "there is no such DAG")
    file = project.run_folder(dag_id, run_id) / REPORT_FILE
    if not file.is_file() or not lies_in(file, project.state / "runs"):
        raise HTTPException(404, f"there is no report of {dag_id}, run {run_id}, in this machine's state folder")
    return FileResponse(file, media_type="text/html; charset=utf-8", headers=_HEADERS)
