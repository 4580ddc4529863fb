"""Azure Machine Learning for any DAG: a connection type, a hook, and operators for command jobs and for pipelines that
were made elsewhere. Nothing here needs a Tidemill spec; docs/platforms/azure.md shows them at work.

Both operators are safe against a crash: the job's name is made of the task's, and is in the task state store before the
job is asked for. A retry goes on with the job that runs, or that ended well; after a failure it starts another.
"""

from __future__ import annotations

import hashlib
import re
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from tidemill.airflow.azureml_hook import AzureMlHook, AzureMlStudioLink

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from tidemill.platforms.ports import JobStatus

__all__ = ["AzureMlHook", "AzureMlJobOperator", "AzureMlPipelineOperator", "AzureMlStudioLink"]
_KEY: Final = "tidemill_azureml"
_SEARCHES: Final = (0.0, 2.0, 3.0, 5.0)
"""Seconds before each search for a run that may have been started: the service's lists are late."""
TAG: Final = "airflow-task"
"""The tag that says which task's a job is: a digest of its DAG, run, id and map index."""
_OWN_PLACE: Final = re.compile(r"\$\{\{\s*(?:inputs|outputs)\.[^}]*\}\}")
_LONGEST: Final = timedelta(days=21)
"""What Azure ML lets a job run at most."""


class _Job(BaseOperator):
    """What the operators share: starting once, waiting in the triggerer or here, ending what was started."""

    ui_color = "#d0e0f5"
    operator_extra_links = (AzureMlStudioLink(),)

    def __init__(
        self,
        *,
        azure_ml_conn_id: str = AzureMlHook.default_conn_name,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace: str | None = None,
        display_name: str | None = None,
        experiment_name: str = "airflow",
        tags: Mapping[str, str] | None = None,
        deferrable: bool | None = None,
        poll_interval: float = 15.0,
        timeout: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.azure_ml_conn_id = azure_ml_conn_id
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.workspace = workspace
        self.display_name = display_name
        self.experiment_name = experiment_name
        self.tags = tags
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.studio_url = ""
        self._running = ""

    @cached_property
    def hook(self) -> AzureMlHook:
        """The workspace."""
        return AzureMlHook(
            self.azure_ml_conn_id,
            subscription_id=self.subscription_id,
            resource_group=self.resource_group,
            workspace=self.workspace,
        )

    @abstractmethod
    def start(self, name: str, tags: Mapping[str, str], *, again: bool = False) -> str:
        """Start the job, or find the one that was; the name that the service knows it by. ``again``: an earlier try
        may have started it."""

    def execute(self, context: Context) -> Any:
        """Start the job, or go on with the one that an earlier try started, and wait for its end."""
        with _told():
            name = self._begin(context)
            self.studio_url = self.hook.studio_url(name)
            self.log.info("Azure ML job %s: %s", name, self.studio_url)
            status = self.hook.status(name)
            if status is None or not status.ended:
                if self._defers():
                    self._wait(name)
                status = self._watch(name)
            return self._end(context, name, status)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """The triggerer says that the job has ended, or that somebody should look."""
        name = str(event["job"])
        self.studio_url = self.hook.studio_url(name)
        with _told():
            status = self.hook.status(name)
            if status is not None and not status.ended:
                self._wait(name)
            return self._end(context, name, status)

    def on_kill(self) -> None:
        """The task is ended while it waits here: so is its job. A waiting trigger does the same."""
        if self._running:
            self.hook.cancel(self._running)

    def _begin(self, context: Context) -> str:
        store = context["task_state_store"]
        known = _kept(store)
        identity, attempt = _identity(context), int(known.get("attempt", 0))
        tags = {TAG: identity, **(self.tags or {})}
        if known and not known.get("done"):
            # An earlier try's: it may have been started, and its end not been seen.
            name = known.get("job") or self.start(known["name"], {**tags, "airflow-attempt": str(attempt)}, again=True)
            status = self.hook.status(name)
            if status is not None and status.state not in ("failed", "stopped"):
                self._running = name
                store.set(_KEY, {**known, "job": name})
                return str(name)
        attempt += 1
        name = job_name(context, identity, attempt)
        store.set(_KEY, {"name": name, "attempt": attempt})
        self._running = self.start(name, {**tags, "airflow-attempt": str(attempt)})
        store.set(_KEY, {"name": name, "attempt": attempt, "job": self._running})
        return self._running

    def _defers(self) -> bool:
        from airflow.configuration import conf

        default = conf.getboolean("operators", "default_deferrable", fallback=False)
        return default if self.deferrable is None else self.deferrable

    def _wait(self, name: str) -> NoReturn:
        from tidemill.airflow.connections import AirflowConnections
        from tidemill.airflow.triggers import trigger_for
        from tidemill.platforms.cloud import Cloud

        cloud = Cloud(self.hook.platform, "azureml", AirflowConnections())
        until = datetime.now(UTC) + (self.timeout or _LONGEST) + timedelta(minutes=10)
        trigger = trigger_for(cloud, self.hook.ref(name), until, None)
        self.defer(trigger=trigger, method_name="resume", timeout=until - datetime.now(UTC) + timedelta(minutes=5))

    def _watch(self, name: str) -> JobStatus | None:
        while True:
            status = self.hook.status(name)
            if status is None or status.ended:
                return status
            time.sleep(self.poll_interval)

    def _end(self, context: Context, name: str, status: JobStatus | None) -> Any:
        """Raises AirflowException: the job did not end well."""
        if status is None:
            raise AirflowException(f"Azure ML knows no job {name} any more; was it deleted?")
        text = self.hook.log_of(name)
        for line in text.splitlines()[-200:]:
            self.log.info("[%s] %s", name, line)
        if status.state != "succeeded":
            raise AirflowException(f"Azure ML job {name} {status.state}: {status.reason or 'see its page'}")
        store = context["task_state_store"]
        store.set(_KEY, {**_kept(store), "done": True})
        return {"name": name, "studio_url": self.studio_url, "seconds": status.seconds}


class AzureMlJobOperator(_Job):
    """Runs a command in a container on a compute cluster, and waits for its end.

    ``command`` may refer to ``${{inputs.NAME}}`` and ``${{outputs.NAME}}``, which Azure ML fills in; all else between
    double braces is a template of Airflow's. ``environment`` is a container image, or
    an environment of the workspace (``azureml:NAME:VERSION``) or of a registry (``azureml://registries/…``).
    ``inputs``: values, addresses of folders, or ``{"type": "uri_file", "path": …, "mode": "download"}``; ``outputs``:
    addresses of folders. ``identity``: the client id of the managed identity to run as, by default the cluster's own;
    ``None`` with ``use_identity=False`` runs without one. ``deferrable`` waits in the triggerer, one call for a hundred
    jobs; by default as ``[operators] default_deferrable`` says. ``timeout``: after it the service ends the job.

    Returns the job's name, its page in the studio, and the seconds that it ran.
    """

    template_fields: Sequence[str] = (
        *("command", "environment", "compute", "inputs", "outputs", "environment_variables", "tags", "display_name"),
        *("experiment_name", "azure_ml_conn_id", "subscription_id", "resource_group", "workspace"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"command": "bash", "inputs": "json", "outputs": "json"}

    def __init__(
        self,
        *,
        command: str,
        environment: str,
        compute: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        environment_variables: Mapping[str, str] | None = None,
        instance_count: int = 1,
        identity: str | None = None,
        use_identity: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.environment = environment
        self.compute = compute
        self.inputs = inputs
        self.outputs = outputs
        self.environment_variables = environment_variables
        self.instance_count = instance_count
        self.identity = identity
        self.use_identity = use_identity

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """As any operator's; what Azure ML is to put in itself, ``${{inputs.…}}``, is no template of Airflow's."""
        self.command = _OWN_PLACE.sub(r"{% raw %}\g<0>{% endraw %}", self.command)
        super().render_template_fields(context, jinja_env)

    def start(self, name: str, tags: Mapping[str, str], *, again: bool = False) -> str:
        """See above; the name is the guard against a second one, whatever was tried before."""
        from azure.mgmt.machinelearningservices import models

        from tidemill.platforms.azure.bodies import inputs_of, outputs_of
        from tidemill.platforms.azure.jobs import whole

        workspace = self.hook.workspace
        count = self.instance_count
        body = models.CommandJob(
            command=self.command,
            environment_id=self.hook.jobs.environment(self.environment),
            compute_id=f"{workspace.scope}/computes/{self.compute}",
            display_name=self.display_name or self.task_id,
            experiment_name=self.experiment_name,
            inputs=inputs_of(self.inputs or {}, workspace),
            outputs=outputs_of(self.outputs or {}),
            environment_variables=dict(self.environment_variables or {}),
            resources=models.JobResourceConfiguration(instance_count=count),
            distribution=models.PyTorch(process_count_per_instance=1) if count > 1 else None,
            limits=models.CommandJobLimits(timeout=whole(self.timeout)) if self.timeout else None,
            identity=models.ManagedIdentity(client_id=self.identity) if self.use_identity else None,
        )
        self.hook.submit(name, models.JobBase(properties=body), tags)
        return name


class AzureMlPipelineOperator(_Job):
    """Starts a pipeline that was made elsewhere, gives it its inputs, and waits for its end. One of:

    - ``component``: a component of the workspace (``NAME:VERSION``, or ``NAME`` for the newest) or of a registry; a
      pipeline component, or a single step. Its inputs are checked before it is started.
    - ``source_job``: the name of a pipeline job, the designer's too, that is run again with other inputs.
    - ``published_pipeline``: the id of a published pipeline (the designer's *Publish*). Azure ML gives its run a name
      by itself, so a try that got no answer, and the one after it, look for the run by its tag, for ten seconds; a run
      that is started and not listed by then is started twice.

    ``inputs``: as of ``AzureMlJobOperator``; a published pipeline takes values only. ``compute``: the cluster of the
    steps that name none.
    """

    template_fields: Sequence[str] = (
        *("component", "source_job", "published_pipeline", "inputs", "compute", "tags", "display_name"),
        *("experiment_name", "azure_ml_conn_id", "subscription_id", "resource_group", "workspace"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json"}

    def __init__(
        self,
        *,
        component: str | None = None,
        source_job: str | None = None,
        published_pipeline: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        compute: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if sum(value is not None for value in (component, source_job, published_pipeline)) != 1:
            raise ValueError(f"{self.task_id}: give one of component, source_job and published_pipeline")
        self.component = component
        self.source_job = source_job
        self.published_pipeline = published_pipeline
        self.inputs = inputs
        self.compute = compute

    def start(self, name: str, tags: Mapping[str, str], *, again: bool = False) -> str:
        """See above."""
        from tidemill.platforms.azure import bodies

        workspace, inputs = self.hook.workspace, dict(self.inputs or {})
        if self.published_pipeline:
            return self._published(self.published_pipeline, name, {**tags, "airflow-job": name}, again=again)
        job = {"display_name": self.display_name or self.task_id, "experiment_name": self.experiment_name}
        with self.hook.jobs.translated(f"pipeline job {name}"):
            if self.component:
                body = bodies.pipeline_of_component(workspace, self.component, inputs, self.compute, **job)
            else:
                body = bodies.pipeline_of_job(workspace, str(self.source_job), inputs, self.compute, **job)
        self.hook.submit(name, body, tags)
        return name

    def _published(self, pipeline: str, name: str, tags: Mapping[str, str], *, again: bool) -> str:
        from tidemill.platforms.azure import bodies
        from tidemill.platforms.ports import PlatformError

        found = self._search(name) if again else None
        if found is not None:
            return found
        try:
            with self.hook.jobs.translated(f"published pipeline {pipeline}"):
                return bodies.start_published(
                    self.hook.workspace, pipeline, dict(self.inputs or {}), self.experiment_name, tags
                )
        except PlatformError as error:
            # Without an answer, it may have been acted upon.
            found = self._search(name) if error.fault == "system" and not error.throttled else None
            if found is None:
                raise
            return found

    def _search(self, name: str) -> str | None:
        """The run that was started under a name, for as long as lists may not show it."""
        from tidemill.platforms.azure import bodies

        for pause in _SEARCHES:
            time.sleep(pause)
            with self.hook.jobs.translated(f"runs of experiment {self.experiment_name}"):
                found = bodies.run_with_tag(self.hook.workspace, self.experiment_name, "airflow-job", name)
            if found is not None:
                return found
        return None


@contextmanager
def _told() -> Iterator[None]:
    """What a platform refuses is the task's own message, without the libraries' traces."""
    from tidemill.platforms.ports import PlatformError

    try:
        yield
    except PlatformError as error:
        raise AirflowException(str(error)) from None


def job_name(context: Context, identity: str, attempt: int) -> str:
    """A job's name: readable at its beginning, one for each attempt of each task of each run."""
    ti = context["ti"]
    begin = re.sub(r"[^A-Za-z0-9]+", "-", f"{ti.dag_id}-{ti.task_id}").strip("-")[:200]
    return f"{begin or 'airflow'}-{identity}-{attempt}"


def _kept(store: Any) -> dict[str, Any]:
    """What earlier tries of the task wrote down."""
    return dict(store.get(_KEY) or {})


def _identity(context: Context) -> str:
    ti = context["ti"]
    cause = "\n".join((ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)))
    return hashlib.sha256(cause.encode()).hexdigest()[:16]
