"""What Airflow's tasks and its triggerer call on Google Cloud, as custom roles: for each step those that it needs.

Each grant names the calls of one place in ``platforms/gcp``; the emulator's tests hold every call they see against
these roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidemill.infra.gcp.grants import Grant, On, listing, objects, one
from tidemill.infra.gcp.using import Using

_JOBS: Final = "Google knows no condition on jobs of Vertex AI: it is allowed on all of the project's or none"
_WRITE: Final = ("storage.objects.create", "storage.objects.delete", "storage.objects.get")
"""An object that is written again is deleted first, as Cloud Storage sees it."""


def train(using: Using) -> Iterator[Grant]:
    """The task ``train``: brings files, submits, looks, fetches."""
    yield from _files(using)
    yield Grant("submit", ("aiplatform.customJobs.create",), (project(using),), _JOBS)
    if using.account:
        # Whoever starts a job that runs as an account has to be allowed to act as it.
        on = On(using.account, "account", using.account_name)
        yield Grant("act", ("iam.serviceAccounts.actAs",), (on,))
    yield from wait(using)


def wait(using: Using) -> Iterator[Grant]:
    """The triggerer while the task waits, and whoever ends the job with its task."""
    permissions = tuple(f"aiplatform.customJobs.{deed}" for deed in ("cancel", "get", "list"))
    yield Grant("watch", permissions, (project(using),), _JOBS)


def track(using: Using) -> Iterator[Grant]:
    """The training written to Vertex AI's experiments, in the task ``train``; the first one makes their store."""
    permissions = (
        *(f"aiplatform.contexts.{deed}" for deed in ("addContextChildren", "create", "get", "update")),
        *(f"aiplatform.metadataStores.{deed}" for deed in ("create", "get")),
    )
    reason = "Google knows no condition on contexts of Vertex AI: it is allowed on all of the project's or none"
    yield Grant("experiments", permissions, (project(using),), reason)


def monitor(using: Using) -> Iterator[Grant]:
    """The task ``monitor``: its numbers."""
    reason = "Google knows no condition on metrics: it is allowed on all of the project's or none"
    yield Grant("numbers", ("monitoring.timeSeries.create",), (project(using),), reason)


def versions(using: Using) -> Iterator[Grant]:
    """The data versions in the bucket: kept by the task ``data``, read by those that need the rows."""
    yield from _files(using)
    bucket = On(using.work.plain, "bucket", using.work.bucket)
    yield Grant("bucket", ("storage.buckets.get",), (bucket,))
    if using.keeps_for:
        reason = "Google knows no permission for a bucket's lifecycle alone"
        yield Grant("lifecycle", ("storage.buckets.get", "storage.buckets.update"), (bucket,), reason)


def sources(using: Using) -> Iterator[Grant]:
    """Whatever step needs rows of a source in a bucket: its newest version, by its id."""
    if using.sources:
        buckets = {On(source.plain, "bucket", source.bucket) for source in using.sources}
        yield Grant("bucket", ("storage.buckets.get",), tuple(sorted(buckets)))
        yield Grant("files", ("storage.objects.get",), tuple(one(source) for source in using.sources))


def project(using: Using) -> On:
    """All of the project."""
    return On("project", "project", using.project)


def _files(using: Using) -> Iterator[Grant]:
    yield Grant("list", ("storage.objects.list",), (listing(using.work),))
    yield Grant("files", _WRITE, (objects(using.work),))
