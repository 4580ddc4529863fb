"""Runs, models and the registry in MLflow: a server named by a connection, or a store in the state folder."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tidemill.platforms.ports import Connections
from tidemill.project import Project
from tidemill.tools.mlflow_calls import (
    ABSENT,
    CONNECTION,
    MlflowCalls,
    MlflowError,
    address_of,
    ignoring,
    local_store,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.tracking import MlflowClient

    from tidemill.runtime.files import Point
    from tidemill.tools.predictor import Predictor

DAG_TAG = "tidemill.dag"
RUN_TAG = "tidemill.dag_run"
MODEL_TAG = "tidemill.model_uri"

_RACES = 4
"""How often a change of MLflow's is tried that another process may be making at the same moment, a row a time."""
_MAX_PARAM = 6000
_BATCH = 200  # MLflow takes 1,000 metrics in one call, but a busy server takes long for them
_PARAM_NAME = re.compile(r"[^\w.\- :/]")


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow has it. ``model_uri`` is the address of its logged model, once there is one."""

    run_id: str
    finished: bool
    model_uri: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetched:
    """An MLflow model in a folder that is there for as long as this object; ``name`` is what messages call it."""

    folder: Path
    name: str
    keep: Any = field(repr=False)


def called(model: str, version: str) -> str:
    """What messages call a version."""
    return f"version {version} of {model}"


def open_mlflow(connections: Connections, project: Project) -> Mlflow:
    """MLflow at the connection ``tidemill_mlflow``, else the store in the project's state folder.

    Raises:
        MlflowError: the connection has no host; the local store cannot be opened.
    """
    connection = connections.get(CONNECTION)
    uri = address_of(connection) if connection else local_store(project)
    return Mlflow(uri, project, connection)


class Mlflow(MlflowCalls):
    """Runs, models and the registry of one MLflow."""

    # -- runs ---------------------------------------------------------------------------------------------

    def start_or_resume_run(
        self, *, experiment: str, name: str, dag_id: str, dag_run: str, same: Mapping[str, str], tags: Mapping[str, str]
    ) -> TrackedRun:
        """The run of a DAG run: the one that is there, if its tags equal ``same``, else a new one.

        A finished run is returned as it is; one that was left unfinished is set running again.
        """
        with self.calls("starting the run", experiment) as client:
            experiment_id = self._experiment(client, experiment)
            where = f"tags.`{DAG_TAG}` = '{dag_id}' and tags.`{RUN_TAG}` = '{dag_run}'"
            for run in client.search_runs([experiment_id], where, max_results=50):
                if all(run.data.tags.get(k) == v for k, v in same.items()):
                    found = _tracked(run)
                    if not found.finished:
                        client.update_run(found.run_id, status="RUNNING")
                    return found
            given = {**tags, **same, DAG_TAG: dag_id, RUN_TAG: dag_run, "mlflow.source.name": dag_id}
            return _tracked(client.create_run(experiment_id, tags=given, run_name=name))

    def tracked(self, run_id: str) -> TrackedRun:
        """A run as it is now."""
        with self.calls("reading the run", run_id) as client:
            return _tracked(client.get_run(run_id))

    def log(self, run_id: str, params: Mapping[str, Any], points: Sequence[Point]) -> None:
        """Log parameters and the history of metrics; logging the same again changes nothing."""
        from mlflow.entities import Metric, Param

        known = [Param(_PARAM_NAME.sub("_", k), _text(v)) for k, v in params.items()]
        metrics = [Metric(p.name, float("nan") if p.value is None else p.value, p.time, p.step) for p in points]
        with self.calls("logging metrics", run_id) as client:
            for i in range(0, len(known), 100):
                client.log_batch(run_id, params=known[i : i + 100])
            for i in range(0, len(metrics), _BATCH):
                client.log_batch(run_id, metrics=metrics[i : i + _BATCH])

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        from mlflow.entities import RunTag

        with self.calls("tagging the run", run_id) as client:
            client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def end_run(self, run_id: str, *, failed: bool = False) -> None:
        """Mark a run as finished or failed."""
        with self.calls("ending the run", run_id) as client:
            client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def log_artifact(self, run_id: str, path: Path, artifact_path: str | None = None) -> None:
        """Upload a file, under the folder ``artifact_path`` of the run's artifacts."""
        with self.calls(f"uploading {path.name}", run_id, transfer=True) as client:
            client.log_artifact(run_id, str(path), artifact_path)

    def log_model(
        self, run_id: str, source: Path, *, sample: pd.DataFrame, classification: bool, classes: Sequence[Any] | None
    ) -> str:
        """Log what a training left as the run's model, with signature and example; returns its address.

        The logged model of an earlier attempt is taken as it is if it is whole, and removed if not.

        Args:
            run_id: the run.
            source: a pickled model, or an MLflow model folder.
            sample: rows of the holdout, without the target.
            classification: the model is asked for probabilities.
            classes: the classes of the training's target, kept with the model.

        Raises:
            StepError: the model cannot be loaded or cannot predict; MLflow cannot be reached (``retry``).
        """
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        from tidemill.tools import packaging

        with self.calls("logging the model", run_id) as client:
            experiment_id = client.get_run(run_id).info.experiment_id
            for left in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
                if left.status == "READY":
                    client.set_tag(run_id, MODEL_TAG, left.model_uri)
                    return str(left.model_uri)
                client.delete_logged_model(left.model_id)
            logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
        header = Model(
            run_id=run_id,
            model_id=logged.model_id,
            artifact_path=logged.artifact_location,
            metadata={"classes": list(classes)} if classes is not None else None,
        )
        with tempfile.TemporaryDirectory(prefix="tidemill-model-") as temporary:
            folder = source
            if not source.is_dir():
                folder = Path(temporary) / "model"
                root = self.project.root
                with self.calls("packaging the model", run_id):
                    packaging.save(
                        source, folder, header=header, sample=sample, root=root, classification=classification
                    )
            with self.calls("uploading the model", run_id, transfer=True) as client:
                client.log_model_artifacts(logged.model_id, str(folder))
        with self.calls("logging the model", run_id) as client:
            client.finalize_logged_model(logged.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
            client.set_tag(run_id, MODEL_TAG, logged.model_uri)
        return str(logged.model_uri)

    # -- the registry -------------------------------------------------------------------------------------

    def register(self, model: str, run_id: str, model_uri: str, tags: Mapping[str, str]) -> str:
        """Register a run's model; the version. A run has one version, however often this is called.

        Two calls at once may both create one: then both return the lower, and each removes what it made
        itself beyond that.
        """
        with self.calls("registering the model", model) as client:
            with ignoring("RESOURCE_ALREADY_EXISTS"):
                client.create_registered_model(model)
            version = _version_of_run(client, model, run_id)
            if version is None:
                made = str(
                    client.create_model_version(
                        model, model_uri, run_id=run_id, tags=dict(tags), model_id=_model_id(model_uri)
                    ).version
                )
                version = _version_of_run(client, model, run_id) or made
                if version != made:
                    client.delete_model_version(model, made)
        self.tag_version(model, version, tags)
        return version

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""

        def point(client: MlflowClient) -> None:
            client.set_registered_model_alias(model, alias, version)

        self._set(f"setting the alias {alias}", model, point)

    def alias(self, model: str, alias: str) -> str | None:
        """The version that an alias points at; ``None`` without the alias or the model."""
        with self.calls(f"reading the alias {alias}", model) as client, ignoring(*ABSENT):
            found = client.get_registered_model(model).aliases.get(alias)
            return None if found is None else str(found)
        return None

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias, if it is there."""
        with self.calls(f"removing the alias {alias}", model) as client, ignoring(*ABSENT):
            client.delete_registered_model_alias(model, alias)

    def tag_version(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Set those tags of a version that it does not have yet."""

        def tag(client: MlflowClient) -> None:
            known = client.get_model_version(model, version).tags
            for key, value in tags.items():
                if known.get(key) != value:
                    client.set_model_version_tag(model, version, key, value)

        self._set(f"tagging version {version}", model, tag)

    def _set(self, doing: str, model: str, change: Callable[[MlflowClient], None]) -> None:
        """Make a change that may be made twice."""
        for attempt in range(1, _RACES + 1):
            try:
                with self.calls(doing, model) as client:
                    change(client)
                return
            except MlflowError as error:
                # MLflow adds the row of an alias or tag that was not there without asking whether another process
                # just did.
                if attempt == _RACES or "unique constraint" not in str(error).lower():
                    raise

    def version_tags(self, model: str, version: str) -> dict[str, str]:
        """The tags of a version.

        Raises:
            MlflowError: there is no such version.
        """
        with self.calls(f"reading version {version}", model) as client:
            return dict(client.get_model_version(model, version).tags)

    def download(self, model: str, version: str, artifact_path: str) -> Path:
        """An artifact of the run that made a version; kept in the state folder, as artifacts do not change."""
        with self.calls(f"fetching {artifact_path} of version {version}", model, transfer=True) as client:
            run_id = client.get_model_version(model, version).run_id
            kept = self.project.state / "mlflow" / "downloads" / str(run_id) / artifact_path
            if kept.exists():
                return kept
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetch-") as temporary:
                os.replace(client.download_artifacts(str(run_id), artifact_path, temporary), kept)
            return kept

    def load(self, model: str, version: str) -> Predictor:
        """The model of a version.

        Raises:
            StepError: it is not there, or does not load.
        """
        return self.load_uri(f"models:/{model}/{version}", name=called(model, version))

    def load_uri(self, uri: str, *, name: str = "the model") -> Predictor:
        """The model at ``models:/…``.

        Raises:
            StepError: it is not there, or does not load.
        """
        from tidemill.tools import packaging

        found = self.fetch(uri, name=name)
        return packaging.load(found.folder, name=name, root=self.project.root, keep=found)

    def fetch(self, uri: str, *, name: str = "the model") -> Fetched:
        """The folder of the model at ``models:/…``, for as long as what is returned lives.

        Raises:
            MlflowError: it is not there, or cannot be fetched (``retry``).
        """
        from mlflow.artifacts import download_artifacts

        keep = tempfile.TemporaryDirectory(prefix="tidemill-model-")
        with self.calls(f"fetching {name}", uri, transfer=True):
            return Fetched(Path(download_artifacts(artifact_uri=uri, dst_path=keep.name)), name, keep)

    def fetch_version(self, model: str, version: str) -> Fetched:
        """The folder of a version's model. Raises as ``fetch``."""
        return self.fetch(f"models:/{model}/{version}", name=called(model, version))

    # -- addresses ----------------------------------------------------------------------------------------

    def run_link(self, run_id: str) -> str | None:
        """The page of a run, where MLflow is a server."""
        if not self.is_server:
            return None
        with self.calls("reading the run", run_id) as client:
            experiment_id = client.get_run(run_id).info.experiment_id
        return f"{self.uri}/#/experiments/{experiment_id}/runs/{run_id}"

    def version_link(self, model: str, version: str) -> str | None:
        """The page of a model version, where MLflow is a server."""
        return f"{self.uri}/#/models/{quote(model)}/versions/{version}" if self.is_server else None

    def _experiment(self, client: MlflowClient, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is None:
            # A server says itself where artifacts go; the local store would take the current folder.
            where = None if self.is_server else (self.artifacts / quote(name)).as_uri()
            with ignoring("RESOURCE_ALREADY_EXISTS"):
                return str(client.create_experiment(name, artifact_location=where))
            found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise MlflowError(
                f"{self.place}: the experiment {name!r} was deleted there; restore it, or remove it for good"
            )
        return str(found.experiment_id)


def _tracked(run: Any) -> TrackedRun:
    tags = dict(run.data.tags)
    uri = tags.get(MODEL_TAG)
    metrics = {k: v if math.isfinite(v) else None for k, v in run.data.metrics.items()}
    return TrackedRun(run.info.run_id, run.info.status == "FINISHED" and uri is not None, uri, tags, metrics)


def _version_of_run(client: MlflowClient, model: str, run_id: str) -> str | None:
    """The lowest version that was registered for a run."""
    found = client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    return min((str(v.version) for v in found), key=int, default=None)


def _model_id(uri: str) -> str | None:
    name = uri.removeprefix("models:/")
    return name if name.startswith("m-") and "/" not in name else None


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _MAX_PARAM else text[: _MAX_PARAM - 2] + " …"
