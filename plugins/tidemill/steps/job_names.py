"""What a training's job is called, and by what it is found: made of its cause alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from tidemill.plan.compile import owner_of
from tidemill.platforms.tags import label, tags_of
from tidemill.settings import environment
from tidemill.steps.context import StepContext

_MAX_NAME: Final = 63
_DIGEST: Final = 10


def job_name(ctx: StepContext, installation: str, attempt: int) -> str:
    """The name of an attempt's job: readable at its beginning, told apart at its end.

    At most 63 characters of ``[a-z0-9-]``, as the strictest service asks (SageMaker's training jobs and Kubernetes'
    labels); two installations, runs, tasks or attempts never share one.
    """
    part = (ctx.part or {}).get("name", "")
    cause = "\n".join((installation, ctx.dag_id, ctx.run_id, ctx.task_id, str(part)))
    end = f"-{hashlib.sha256(cause.encode()).hexdigest()[:_DIGEST]}-{attempt}"
    begin = re.sub(r"[^a-z0-9]+", "-", f"tm-{installation}-{ctx.pipeline}".lower())
    return begin[: _MAX_NAME - len(end)].strip("-") + end


def job_tags(ctx: StepContext, installation: str, name: str, attempt: int) -> Mapping[str, str]:
    """The tags of an attempt's job: its pipeline's, and those by which it is told from other jobs."""
    own = {
        "tidemill-installation": installation,
        "tidemill-job": name,
        "tidemill-run": hashlib.sha256(ctx.run_id.encode()).hexdigest()[:_DIGEST],
        "tidemill-task": label(ctx.task_id),
        "tidemill-as-of": f"{ctx.as_of.instant:%Y%m%dt%H%M%Sz}",
        "tidemill-attempt": str(attempt),
    }
    return {**tags_of(ctx.pipeline, owner_of(ctx.spec), environment(), ctx.spec.platform.tags), **own}


def checkpoint_place(base: str, name: str, cleared: int) -> str:
    """Where the checkpoints of one cause are below ``base``, whatever the attempt; a task that was cleared begins
    without any."""
    return f"{base.rstrip('/')}/{name.rpartition('-')[0]}-{cleared}"
