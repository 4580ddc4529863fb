"""Trainings as runs of Azure ML, over the MLflow API that each workspace has.

A training that ran as a job of the workspace has a run already, by the job's name: its numbers are written there. Any
other gets a run of its own, which is found again by its tag.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tidemill.platforms.azure.account import Workspace, open_workspace
from tidemill.platforms.azure.errors import translated
from tidemill.platforms.ports import Connections, TrackedTraining
from tidemill.spec.platform import Platform

_NAME: Final = "tidemill-job"
_WRITTEN: Final = "tidemill-written"
"""A tag that says that a run's numbers are complete. MLflow keeps every point of a metric, repetitions too."""
_BATCH: Final = 100
"""Params, metrics or tags of one call, as MLflow limits them."""
_LONGEST: Final = 500
"""Of a param's value: MLflow's own limit on Azure ML."""


def open_tracking(platform: Platform, connections: Connections) -> AzureMlTracking:
    """The runs of the workspace that a spec names.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    return AzureMlTracking(open_workspace(platform, connections))


class AzureMlTracking:
    """The port ``Tracking`` over an Azure ML workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def log(self, training: TrackedTraining) -> str:
        """See the port."""
        with translated(f"tracking of {training.name}", self.workspace.connection, "azureml"):
            run = self._of_job(training.name) or self._of_tag(training)
            if run is None:
                run = self._create(training)
            run_id = str(run["info"]["run_id"])
            kept = {tag["key"]: tag["value"] for tag in run.get("data", {}).get("tags", [])}
            if _WRITTEN not in kept:
                self._write(run_id, training)
            if run_id != training.name:  # a job's run is ended by the job
                self._call("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": _now()})
        return self.workspace.studio(run_id)

    def _of_job(self, name: str) -> Mapping[str, Any] | None:
        """The run that is a job's."""
        from azure.core.exceptions import HttpResponseError

        try:
            found: Mapping[str, Any] = self._call("runs/get", {"run_id": name}, method="GET")["run"]
        except HttpResponseError as error:
            if error.status_code in (400, 404):
                return None
            raise
        return found

    def _of_tag(self, training: TrackedTraining) -> Mapping[str, Any] | None:
        asked = {
            "experiment_ids": [self._experiment(training.experiment)],
            "filter": f"tags.`{_NAME}` = '{training.name}'",
            "max_results": 1,
        }
        runs: list[Mapping[str, Any]] = self._call("runs/search", asked).get("runs") or []
        return runs[0] if runs else None

    def _experiment(self, name: str) -> str:
        from azure.core.exceptions import HttpResponseError

        try:
            found = self._call("experiments/get-by-name", {"experiment_name": name}, method="GET")
            return str(found["experiment"]["experiment_id"])
        except HttpResponseError as error:
            if error.status_code not in (400, 404):
                raise
        try:
            return str(self._call("experiments/create", {"name": name})["experiment_id"])
        except HttpResponseError as error:
            if error.status_code not in (400, 409):  # another training of this pipeline has just made it
                raise
            found = self._call("experiments/get-by-name", {"experiment_name": name}, method="GET")
            return str(found["experiment"]["experiment_id"])

    def _create(self, training: TrackedTraining) -> Mapping[str, Any]:
        body = {
            "experiment_id": self._experiment(training.experiment),
            "run_name": training.name,
            "start_time": _now(),
            "tags": [{"key": "mlflow.runName", "value": training.name}, {"key": _NAME, "value": training.name}],
        }
        found: Mapping[str, Any] = self._call("runs/create", body)["run"]
        return found

    def _write(self, run_id: str, training: TrackedTraining) -> None:
        at = _now()
        params = [{"key": key, "value": str(value)[:_LONGEST]} for key, value in training.params.items()]
        metrics = [
            {"key": key, "value": float(value), "timestamp": at, "step": 0}
            for key, value in training.metrics.items()
            if math.isfinite(value)
        ]
        tags = [{"key": key, "value": value} for key, value in training.tags.items()]
        for part in _parts(params):
            self._call("runs/log-batch", {"run_id": run_id, "params": part})
        for part in _parts(metrics):
            self._call("runs/log-batch", {"run_id": run_id, "metrics": part})
        # As the last: whoever finds this tag finds all else.
        for part in _parts([*tags, {"key": _WRITTEN, "value": "true"}]):
            self._call("runs/log-batch", {"run_id": run_id, "tags": part})

    def _call(self, what: str, body: Mapping[str, Any], *, method: str = "POST") -> Any:
        path = f"mlflow/v1.0|/api/2.0/mlflow/{what}"
        if method == "GET":
            return self.workspace.call(method, path, params={key: str(value) for key, value in body.items()})
        return self.workspace.call(method, path, dict(body))


def _parts(values: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _now() -> int:
    return time.time_ns() // 1_000_000
