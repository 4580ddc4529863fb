"""What the service account of jobs may do: what the runtime in the container calls."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.infra.gcp.grants import Grant, listing, objects, outputs
from tidemill.infra.gcp.using import Using


def files(using: Using) -> Iterator[Grant]:
    """Code, data and the job's own file are read, outputs and checkpoints written."""
    write = ("storage.objects.create", "storage.objects.delete", "storage.objects.get")
    folders = [using.work, *([using.checkpoints] if using.checkpoints else [])]
    yield Grant("list", ("storage.objects.list",), tuple(listing(folder) for folder in folders))
    yield Grant("read", ("storage.objects.get",), (objects(using.work),))
    kept = [objects(using.checkpoints)] if using.checkpoints else []
    # An object that is written again, by a job that was started again, is deleted first.
    yield Grant("write", write, (outputs(using.work), *kept))
