"""Summarises one part of the judged window, in a mapped task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidemill.records import SketchPart
from tidemill.steps.context import StepContext, StepError


def run(ctx: StepContext) -> SketchPart:
    """The sketch of the files of ``ctx.part``, in ``<run folder>/sketch/NNNNN.sketch``.

    Raises:
        StepError: they cannot be read, or the champion's reference cannot be loaded.
    """
    from tidemill.steps.drift import reference_of, summary
    from tidemill.tools.mlflow import open_mlflow

    part: Mapping[str, Any] | None = ctx.part
    if part is None:
        raise StepError("sketch: this task was given no part of the window; has the task `partitions` run?")
    start, end = (datetime.fromisoformat(part[name]) for name in ("start", "end"))
    reference = reference_of(ctx, open_mlflow(ctx.connections, ctx.project), part["version"])
    found = summary(ctx, reference, start, end, files=part["files"])
    path = ctx.scratch("sketch") / f"{part['index']:05}.sketch"
    whole = path.with_suffix(".part")
    found.write(whole)
    whole.replace(path)
    ctx.log.info("summarised %s rows of %d files", f"{found.rows:,}", len(part["files"]))
    return SketchPart(version=part["version"], index=part["index"], of=part["of"], path=str(path), rows=found.rows)
