"""Jobs of a Kubernetes cluster (``batch/v1``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.cloud import connection_id
from tidemill.platforms.delivered import collect
from tidemill.platforms.kubernetes.body import job_body
from tidemill.platforms.kubernetes.errors import Refused, asked, refusal
from tidemill.platforms.kubernetes.status import ENDED, hopeless, needs_pods, status_of
from tidemill.platforms.kubernetes.storage import open_storage
from tidemill.platforms.ports import (
    Connections,
    JobLinks,
    JobRef,
    JobStatus,
    PlatformError,
    RemoteJob,
    Storage,
)
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from kubernetes.client import V1Job, V1Pod

_JOB: Final = "tidemill-job"
_INSTALLATION: Final = "tidemill-installation"
_PAGE: Final = 500
_BY_NAME: Final = 50
"""Up to so many jobs are asked for by name; beyond, all of Tidemill's in the namespace are listed."""
_REASON: Final = 500


def open_jobs(platform: Platform, service: str, connections: Connections) -> KubernetesJobs:
    """The jobs of a platform's namespace. ``service`` is always ``kubernetes``."""
    return KubernetesJobs(platform, connections)


class KubernetesJobs:
    """The port ``RemoteJobs`` over a cluster's jobs. ``JobRef.id`` is ``NAMESPACE/NAME``, its region the namespace."""

    refuses_duplicates = True

    def __init__(self, platform: Platform, connections: Connections) -> None:
        self._platform = platform
        self._connections = connections
        self._connection = connection_id(platform)
        self._namespace = platform.namespace or "default"

    @cached_property
    def _client(self) -> Any:
        return self._connections.credentials("kubernetes", self._connection)

    @cached_property
    def _batch(self) -> Any:
        from kubernetes.client import BatchV1Api

        return BatchV1Api(self._client)

    @cached_property
    def _core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self._client)

    @cached_property
    def _storage(self) -> Storage:
        return open_storage(self._platform, self._connections)

    def submit(self, job: RemoteJob) -> JobRef:
        """Create the job; one of its name that is ours is returned instead. See ``RemoteJobs``."""
        body = job_body(job, self._namespace)
        doing = f"create job {job.name} in namespace {self._namespace}"
        try:
            asked(doing, self._batch.create_namespaced_job, self._namespace, body)
        except Refused as e:
            if e.code != 409 or e.reason != "AlreadyExists":
                raise refusal(doing, e) from None
            found = self.find(job)
            if found is None:
                raise PlatformError(f"{doing}: it exists, and then does not; try again") from None
            return found
        return self._ref(job.name)

    def find(self, job: RemoteJob) -> JobRef | None:
        """The job of that name that is ours; ``None`` if there is none. See ``RemoteJobs``."""
        doing = f"read job {job.name} in namespace {self._namespace}"
        try:
            found = asked(doing, self._batch.read_namespaced_job, job.name, self._namespace)
        except Refused as e:
            if e.code == 404:
                return None
            raise refusal(doing, e) from None
        labels = found.metadata.labels or {}
        if any(labels.get(key) != job.tags.get(key) for key in (_JOB, _INSTALLATION)):
            raise PlatformError(
                f"the name {job.name} is taken by a stranger's job in namespace {self._namespace}: it does not have "
                "this installation's labels",
                fault="user",
            )
        return self._ref(job.name)

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """How jobs stand: a list of jobs for each namespace, and one of pods where the jobs do not tell enough. A job
        whose image cannot be pulled is ended, since it would wait for ever. See ``RemoteJobs``."""
        spaces: dict[str, set[str]] = defaultdict(set)
        for ref in refs:
            namespace, _, name = ref.id.partition("/")
            spaces[namespace].add(name)
        return {
            f"{namespace}/{name}": status
            for namespace, names in spaces.items()
            for name, status in self._stand(namespace, names)
        }

    def stop(self, ref: JobRef) -> None:
        """End a job, which stays to be looked at. See ``RemoteJobs``."""
        self._end(ref.id, "stopped:ended by Tidemill")

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch what the job left. See ``RemoteJobs``."""
        collect(self._storage, job.output, folder)

    def links(self, ref: JobRef) -> JobLinks:
        """Where a person looks at the job: ``dashboard_url`` of the connection's extra, an address with ``{namespace}``
        and ``{name}`` in it, if there is one; ``log_url`` likewise."""
        connection = self._connections.get(self._connection)
        extra = connection.extra if connection is not None else {}
        namespace, _, name = ref.id.partition("/")
        made = [
            str(extra.get(key) or "").replace("{namespace}", namespace).replace("{name}", name)
            for key in ("dashboard_url", "log_url")
        ]
        return JobLinks(console=made[0], log=made[1])

    def _stand(self, namespace: str, names: set[str]) -> Iterator[tuple[str, JobStatus]]:
        jobs = {
            job.metadata.name: job
            for job in self._list(self._batch.list_namespaced_job, "list jobs", namespace, names)
            if job.metadata.name in names
        }
        wanted = {name for name, job in jobs.items() if needs_pods(job)}
        pods: dict[str, list[V1Pod]] = defaultdict(list)
        if wanted:
            for pod in self._list(self._core.list_namespaced_pod, "list pods", namespace, wanted):
                pods[pod.metadata.labels[_JOB]].append(pod)
        for name, job in jobs.items():
            yield name, self._status(namespace, job, pods[name])

    def _status(self, namespace: str, job: V1Job, pods: list[V1Pod]) -> JobStatus:
        status = status_of(job, pods)
        if status.state == "queued" and (why := hopeless(pods)):
            self._end(f"{namespace}/{job.metadata.name}", f"user:{why}"[:_REASON])
        return status

    def _list(self, call: Any, what: str, namespace: str, names: set[str]) -> Iterator[Any]:
        """Everything of some jobs, page by page."""
        doing = f"{what} in namespace {namespace}"
        selector = f"{_JOB} in ({','.join(sorted(names))})" if len(names) <= _BY_NAME else _JOB
        following = None
        while True:
            try:
                page = asked(doing, call, namespace, label_selector=selector, limit=_PAGE, _continue=following)
            except Refused as e:
                if e.code == 410 and following:  # the list took longer than its pages are kept: from the beginning
                    following = None
                    continue
                raise refusal(doing, e) from None
            yield from page.items
            following = page.metadata._continue
            if not following:
                return

    def _end(self, place: str, why: str) -> None:
        """Let a job's time be over: its pods get SIGTERM, it becomes Failed, and is kept for its time. One that is
        deleted would leave no trace of why; one that has ended is left alone, since it says why already."""
        namespace, _, name = place.partition("/")
        doing = f"stop job {name} in namespace {namespace}"
        body = {"metadata": {"annotations": {ENDED: why}}, "spec": {"activeDeadlineSeconds": 1, "suspend": False}}
        try:
            found = asked(doing, self._batch.read_namespaced_job, name, namespace)
            if any(c.type in ("Complete", "Failed") and c.status == "True" for c in found.status.conditions or ()):
                return
            asked(doing, self._batch.patch_namespaced_job, name, namespace, body)
        except Refused as e:
            if e.code != 404:
                raise refusal(doing, e) from None

    def _ref(self, name: str) -> JobRef:
        return JobRef("kubernetes", name, f"{self._namespace}/{name}", self._namespace)
