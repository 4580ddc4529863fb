"""Trainings as custom jobs of Vertex AI, over REST.

``CreateCustomJob`` takes any number of jobs of one name and has no token that would make a repeated call harmless. So
a job is searched by its label before it is submitted, and again when the answer to that did not arrive; what remains
is told in docs/platforms/gcp.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tidemill.platforms import packing
from tidemill.platforms.delivered import collect
from tidemill.platforms.gcp.account import SECONDS, Account, open_account, retry, retry_refused
from tidemill.platforms.gcp.body import custom_job
from tidemill.platforms.gcp.errors import Call, told, translate
from tidemill.platforms.gcp.status import ENDED, instant, status
from tidemill.platforms.gcp.storage import CloudStorage
from tidemill.platforms.ports import Connections, JobLinks, JobRef, JobStatus, PlatformError, RemoteJob
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.job_service import JobServiceClient
    from google.cloud.aiplatform_v1.types import CustomJob

_PAGE: Final = 100
_SINGLE: Final = 5
"""So many jobs are asked for one by one, which also finds those that no list shows yet."""
_SEARCHES: Final = (0.0, 1.0, 3.0)
"""Seconds before each search for a job whose submission was not answered."""
_ROLE: Final = "roles/aiplatform.user"


def open_jobs(platform: Platform, service: str, connections: Connections) -> VertexJobs:
    """Vertex AI in the platform's project and region.

    Raises:
        PlatformError: no connection, project or region.
    """
    account = open_account(platform, connections)
    if not account.region:
        raise PlatformError("platform.region is missing: Vertex AI has an address in each region", fault="user")
    return VertexJobs(account)


class VertexJobs:
    """The ``RemoteJobs`` of one project and region. Threads may share it."""

    refuses_duplicates = False

    def __init__(self, account: Account) -> None:
        self.account = account
        self._installation: str | None = None
        self._last: dict[str, JobStatus] = {}
        self._asked: dict[str, int] = {}
        self._gone: set[str] = set()
        self._polls = 0

    @cached_property
    def _client(self) -> JobServiceClient:
        from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

        return JobServiceClient(**self.account.vertex_options())

    def submit(self, job: RemoteJob) -> JobRef:
        """Create the job, unless one with its labels is there. What an unanswered call made is looked for."""
        command = packing.boot_command(
            platform=job.service,
            code=job.code,
            data=job.data,
            job=job.job,
            output=job.output,
            checkpoint=job.checkpoint,
        )
        body = custom_job(job, command)
        found = self.find(job)
        if found is not None:
            return found
        call = Call(f"submit job {job.name} to Vertex AI", "aiplatform.customJobs.create", _ROLE)
        try:
            made = self._client.create_custom_job(
                parent=self.account.location, custom_job=body, retry=retry_refused(), timeout=SECONDS
            )
        except Exception as error:
            refused = translate(error, self.account, call)
            if refused is None:
                raise
            if refused.fault == "system" and not refused.throttled:
                found = self._search_again(job)
                if found is not None:
                    return found
            raise refused from error
        return self._ref(made)

    def find(self, job: RemoteJob) -> JobRef | None:
        """The job with both of its labels; of several (see the module), the first that was made."""
        installation = job.tags["tidemill-installation"]
        self._installation = installation
        listed = self._list(f'labels.tidemill-job="{job.name}" AND labels.tidemill-installation="{installation}"')
        ours = (found for found in listed if found.labels.get("tidemill-job") == job.name)
        found = sorted(ours, key=_created)
        return self._ref(found[0]) if found else None

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """How jobs stand: a few by a call each; many by a list of those that have not ended, and what that lacks by a
        list that ends at the last job asked for. For 1,000 jobs that is 10 to 20 calls."""
        wanted = {ref.id for ref in refs}
        found: dict[str, JobStatus] = {}
        if len(wanted) > _SINGLE:
            live = " AND ".join(f'state!="{name}"' for name in ENDED)
            self._seen(self._list(f"{self._ours()} AND {live}", polling=True), wanted, found)
            if len(wanted) - len(found) > _SINGLE:
                # Newest first, as the service lists them; the bound is against a project with a long history.
                most = (len(wanted) // _PAGE + 5) * _PAGE
                self._seen(islice(self._list(self._ours(), polling=True), most), wanted, found)
        # No list shows them yet, they are far back, or they are gone: a few are asked for in each poll, in turns.
        missing = sorted(wanted - found.keys(), key=lambda name: (self._asked.get(name, 0), name))
        self._polls += 1
        for name in missing[:_SINGLE]:
            self._asked[name] = self._polls
            one = self._get(name)
            if one is None:
                self._gone.add(name)
            else:
                found[name] = status(one)
        for name in set(missing[_SINGLE:]) - self._gone:
            found[name] = self._last.get(name, JobStatus("queued"))
        self._last = found
        self._gone &= wanted - found.keys()
        self._asked = {name: n for name, n in self._asked.items() if name in wanted}
        return found

    def stop(self, ref: JobRef) -> None:
        """Cancel the job."""
        from google.api_core import exceptions

        call = Call(f"cancel job {ref.name}", "aiplatform.customJobs.cancel", _ROLE)
        with told(self.account, call):
            try:
                self._client.cancel_custom_job(name=ref.id, retry=retry(), timeout=SECONDS)
            except exceptions.NotFound:
                return
            except exceptions.BadRequest:
                # A job that has ended is refused as FAILED_PRECONDITION.
                found = self._get(ref.id)
                if found is not None and not status(found).ended:
                    raise

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch the job's output and result record from Cloud Storage."""
        collect(CloudStorage(self.account), job.output, folder)

    def links(self, ref: JobRef) -> JobLinks:
        """The console's pages, at the addresses that Google's SDK prints."""
        parts = ref.id.split("/")
        number, project = parts[-1], quote(self.account.project)
        region = ref.region or self.account.region
        query = quote(f'resource.type="ml_job"\nresource.labels.job_id="{number}"', safe="")
        return JobLinks(
            console=f"https://console.cloud.google.com/agent-platform/locations/{region}/training/{number}"
            f"?project={project}",
            log=f"https://console.cloud.google.com/logs/query;query={query}?project={project}",
        )

    def _ref(self, job: CustomJob) -> JobRef:
        return JobRef("vertex", str(job.display_name), str(job.name), self.account.region)

    def _ours(self) -> str:
        if self._installation is None:
            return "labels.tidemill-installation:*"
        return f'labels.tidemill-installation="{self._installation}"'

    def _seen(self, jobs: Iterator[CustomJob], wanted: set[str], found: dict[str, JobStatus]) -> None:
        for job in jobs:
            if job.name in wanted:
                found[str(job.name)] = status(job)
                self._installation = job.labels.get("tidemill-installation", self._installation)
                if len(found) == len(wanted):
                    return

    def _list(self, matching: str, *, polling: bool = False) -> Iterator[CustomJob]:
        from google.cloud.aiplatform_v1.types import ListCustomJobsRequest

        request = ListCustomJobsRequest(parent=self.account.location, filter=matching, page_size=_PAGE)
        with told(self.account, Call("list jobs of Vertex AI", "aiplatform.customJobs.list", _ROLE)):
            yield from self._client.list_custom_jobs(
                request=request, retry=retry(15.0 if polling else 45.0, throttled=not polling), timeout=SECONDS
            )

    def _get(self, name: str) -> CustomJob | None:
        from google.api_core import exceptions

        with told(self.account, Call(f"look at job {name}", "aiplatform.customJobs.get", _ROLE)):
            try:
                return self._client.get_custom_job(name=name, retry=retry(15.0, throttled=False), timeout=SECONDS)
            except exceptions.NotFound:
                return None

    def _search_again(self, job: RemoteJob) -> JobRef | None:
        for seconds in _SEARCHES:
            time.sleep(seconds)
            found = self.find(job)
            if found is not None:
                return found
        return None


def _created(job: CustomJob) -> tuple[float, str]:
    return instant(job.create_time).timestamp(), str(job.name)
