"""Whose model it is: one pipeline makes the versions of a model, and no other may register beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.ledger.views import REGISTERED
from tidemill.project import Project
from tidemill.steps.context import StepContext, StepError

if TYPE_CHECKING:
    from tidemill.ledger import Ledger

_SUFFIXES = (".yaml", ".yml")


def check_owner(ledger: Ledger, ctx: StepContext) -> None:
    """Refuse a model whose last version another pipeline registered, as long as that pipeline's file is there.

    Two pipelines in turn would compare a model with one of other columns, and each would undo the other's
    promotions. A pipeline whose file was renamed goes on with the model of the old name: that file is gone.

    Raises:
        StepError: the model is another pipeline's; the message names it and its file.
    """
    last = next(reversed(ledger.entries(ctx.model, kinds={REGISTERED})), None)
    other = str(last.body.get("pipeline") or "") if last is not None else ""
    if last is None or other in ("", ctx.pipeline):
        return
    file = _spec_of(other, ctx.project)
    if file is None:
        ctx.log.info("model %r was made by the pipeline %r, whose file is gone: it goes on here", ctx.model, other)
        return
    raise StepError(
        f"the model {ctx.model!r} belongs to the pipeline {other!r} ({file}), which registered its version "
        f"{last.body.get('version')}. Give {ctx.pipeline!r} a promote.model of its own; if it replaces {other!r}, "
        f"remove {file} first."
    )


def _spec_of(pipeline: str, project: Project) -> Path | None:
    """The file of a pipeline, from the project's root; ``None`` if it is gone. A matrix's row is in its file."""
    dags = project.root / "dags"
    stem = pipeline.partition(".")[0]
    names = {f"{stem}{suffix}" for suffix in _SUFFIXES}
    for folder, inner, files in os.walk(dags if dags.is_dir() else project.root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names.intersection(files):
            return (Path(folder) / name).relative_to(project.root)
    return None
