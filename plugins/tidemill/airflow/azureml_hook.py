"""A workspace of Azure ML as an Airflow connection of its own type, and the link to a job's page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from tidemill.platforms.azure.account import Workspace
    from tidemill.platforms.azure.jobs import AzureMlJobs
    from tidemill.platforms.ports import JobStatus


class AzureMlHook(BaseHook):
    """A workspace of Azure ML, by a connection of type ``azure_ml`` (or ``azure``).

    ``subscription_id``, ``resource_group``, ``workspace``: where the connection does not say, or says otherwise.
    """

    conn_name_attr = "azure_ml_conn_id"
    default_conn_name = "azure_ml_default"
    conn_type = "azure_ml"
    hook_name = "Azure Machine Learning"

    def __init__(
        self,
        azure_ml_conn_id: str = default_conn_name,
        *,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace: str | None = None,
    ) -> None:
        super().__init__()
        self.azure_ml_conn_id = azure_ml_conn_id
        self._given = {"subscriptionId": subscription_id, "resource_group": resource_group, "workspace": workspace}

    @cached_property
    def platform(self) -> Any:
        """The workspace as a ``platform:`` section.

        Raises:
            AirflowException: neither the connection nor the caller names the workspace.
        """
        from tidemill.spec.platform import Platform

        extra = self.get_connection(self.azure_ml_conn_id).extra_dejson
        found = {key: value or extra.get(key) for key, value in self._given.items()}
        for key, value in found.items():
            if not value:
                raise AirflowException(f"the connection {self.azure_ml_conn_id!r} has no {key}, and none was given")
        return Platform(
            provider="azure",
            connection=self.azure_ml_conn_id,
            subscription=found["subscriptionId"],
            resource_group=found["resource_group"],
            workspace=found["workspace"],
        )

    @cached_property
    def jobs(self) -> AzureMlJobs:
        """The workspace's jobs, as Tidemill's own platform sees them.

        Raises:
            PlatformError: nothing can be made of the connection.
        """
        from tidemill.airflow.connections import AirflowConnections
        from tidemill.platforms.azure.jobs import open_jobs

        return open_jobs(self.platform, "azureml", AirflowConnections())

    @property
    def workspace(self) -> Workspace:
        """The workspace."""
        return self.jobs.workspace

    def get_conn(self) -> Any:
        """Microsoft's own client, ``azure.mgmt.machinelearningservices.MachineLearningServicesMgmtClient``."""
        return self.workspace.client

    def submit(self, name: str, body: Any, tags: Mapping[str, str] | None = None) -> str:
        """Have the service take a job (a ``JobBase`` of the client's models); its id. Repeatable: a job of that name
        and these tags is not started again.

        Raises:
            PlatformError: refused, the name is taken by another job, or no answer.
        """
        body.properties.tags = {**(body.properties.tags or {}), **(tags or {})}
        return self.jobs.take(name, body, tuple(tags or {})).id

    def status(self, name: str) -> JobStatus | None:
        """How a job stands; ``None`` if there is none.

        Raises:
            PlatformError: refused, or no answer.
        """
        return self.jobs.poll([self.ref(name)]).get(name)

    def cancel(self, name: str) -> None:
        """Ask the service to end a job; one that has ended, or is unknown, is left alone.

        Raises:
            PlatformError: refused, or no answer.
        """
        self.jobs.stop(self.ref(name))

    def log_of(self, name: str) -> str:
        """What a job has printed: its ``user_logs/std_log*.txt``; empty if there is none.

        Raises:
            PlatformError: refused, or no answer.
        """
        return self.jobs.log_of(name)

    def studio_url(self, name: str) -> str:
        """Where a person looks at a job."""
        return self.workspace.studio(name)

    def test_connection(self) -> tuple[bool, str]:
        """Whether the workspace can be read; for the *Test* button of the connection form."""
        from tidemill.platforms.ports import PlatformError

        try:
            found = self.workspace.read()
        except (PlatformError, AirflowException) as error:
            return False, str(error)
        return True, f"workspace {found.name} in {found.location}"

    def ref(self, name: str) -> Any:
        """A job of the workspace, by name."""
        from tidemill.platforms.ports import JobRef

        return JobRef("azureml", name, name)


class AzureMlStudioLink(BaseOperatorLink):
    """The job's page in Azure ML's studio."""

    name = "Azure ML studio"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; Airflow asks for it in the task's process, when the task has finished."""
        return getattr(operator, "studio_url", None) or ""
