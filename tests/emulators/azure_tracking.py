"""The MLflow API of an Azure ML workspace: MLflow's own server, in which a job's run has the job's name as its id."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from werkzeug.test import Client
from werkzeug.wrappers import Request, Response


class MlflowService:
    """MLflow's WSGI application over a database of its own."""

    def __init__(self, folder: Path) -> None:
        os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{folder / 'mlflow.db'}"
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "artifacts")
        from mlflow.server import app

        self._client = Client(app)
        self._ids: dict[str, str] = {}
        """A job's name → MLflow's id of its run."""

    def forward(self, rest: str, request: Request, jobs: Mapping[str, tuple[str, Mapping[str, str]]]) -> Response:
        """Ask MLflow; ``jobs`` are the workspace's jobs by name, with their experiments and tags."""
        asked = request.get_data(as_text=True) + request.query_string.decode()
        for name, (experiment, tags) in jobs.items():
            if name not in self._ids and (name in asked or rest.endswith("/search") or f"={experiment}" in asked):
                self._ids[name] = self._begin(name, experiment, tags)
        path = re.sub(r".*?/api/2\.0/mlflow/", "/api/2.0/mlflow/", rest)
        answer = self._client.open(
            path,
            method=request.method,
            query_string=self._inward(request.query_string.decode()),
            data=self._inward(request.get_data(as_text=True)) or None,
            content_type="application/json",
        )
        return Response(self._outward(answer.get_data(as_text=True)), answer.status, content_type="application/json")

    def _begin(self, name: str, experiment: str, kept: Mapping[str, str]) -> str:
        found = self._ask("GET", f"experiments/get-by-name?experiment_name={experiment}").get("experiment")
        known = found or self._ask("POST", "experiments/create", {"name": experiment})
        tags = [{"key": key, "value": value} for key, value in {**kept, "mlflow.runName": name}.items()]
        body = {"experiment_id": known["experiment_id"], "run_name": name, "start_time": 1, "tags": tags}
        return str(self._ask("POST", "runs/create", body)["run"]["info"]["run_id"])

    def _ask(self, method: str, what: str, body: Any = None) -> dict[str, Any]:
        answer = self._client.open(f"/api/2.0/mlflow/{what}", method=method, json=body)
        found: dict[str, Any] = json.loads(answer.get_data(as_text=True))
        return found

    def _inward(self, text: str) -> str:
        for name, run in self._ids.items():
            text = text.replace(f"run_id={name}", f"run_id={run}")
            text = re.sub(rf'("run_id": *){re.escape(json.dumps(name))}', rf'\1"{run}"', text)
        return text

    def _outward(self, text: str) -> str:
        for name, run in self._ids.items():
            text = text.replace(json.dumps(run), json.dumps(name))
        return text
