"""Step `validate`: what the suite of `data.expect` says of the run's data version, training rows and holdout."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tidemill.records import DataVersion, FailedExpectation, Validation
from tidemill.steps import processing
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched

if TYPE_CHECKING:
    from tidemill.steps.computing import Computation

_DOCS = "docs"


def run(ctx: StepContext) -> Validation:
    """Run the suite; the Data Docs stay in the run's folder, whatever came of it.

    Raises:
        StepWaits: a job runs it; call this again when that has ended.
        StepError: expectations do not hold (each is named, with its failing rows), the suite has mistakes, or
            the data version is damaged.
    """
    suite, data = ctx.spec.data.expect, ctx.result(DataVersion)
    if suite is None:
        raise StepError(f"{ctx.task_id}: the spec has no data.expect; this task has nothing to check.")
    made = processing.compute(ctx, "validate", lambda: _prepared(ctx, suite, data), compute)
    docs = ctx.scratch("validate") / _DOCS
    if made.output != docs.parent:
        shutil.rmtree(docs, ignore_errors=True)
        shutil.copytree(made.output / _DOCS, docs)
    found = replace(Validation.from_json(made.value), docs=str(docs / "index.html"))
    if found.failed:
        raise StepError(_report(suite, found.data_version, found.checked, found.failed, str(found.docs)))
    said = "%d checks of %s hold on data version %s; see %s"
    ctx.log.info(said, found.checked, suite, found.data_version, found.docs)
    return found


def _prepared(ctx: StepContext, suite: str, data: DataVersion) -> Computation:
    from tidemill.steps.computing import Computation
    from tidemill.tools.great_expectations import require_suite

    path = ctx.project.path(suite)
    require_suite(path)
    return Computation(
        spec=ctx.spec,
        root=ctx.project.root,
        inputs={"data": fetched(ctx, data), "suite": path},
        facts={"data_version": data.version},
        output=ctx.scratch("validate"),
        log=ctx.log,
    )


def compute(given: Computation) -> Mapping[str, Any]:
    """The outcome of the suite on each part of the data version, as a ``Validation``; the Data Docs in ``docs``.

    Raises:
        StepError: the suite has mistakes, or a part cannot be read.
    """
    from tidemill.tools.great_expectations import run_suite
    from tidemill.tools.versions import FILES

    parts = {file.removesuffix(".parquet"): given.inputs["data"] / file for file in reversed(FILES)}
    found = run_suite(given.inputs["suite"], parts, given.output / _DOCS)
    return Validation(
        data_version=given.facts["data_version"],
        suite=str(given.spec.data.expect),
        checked=found.checked,
        failed=found.failed,
        docs=None,
    ).to_json()


def _report(suite: str, version: str, checked: int, failed: Sequence[FailedExpectation], docs: str) -> str:
    lines = [f"{suite}: {len(failed)} of {checked} checks fail on data version {version}"]
    for one in failed:
        column = f" ({one.column})" if one.column else ""
        rows = f"{one.rows:,} of {one.of:,} rows; " if one.rows is not None and one.of is not None else ""
        lines.append(f"  {one.expectation}{column}: {rows}{one.detail}")
    return "\n".join([*lines, f"Data Docs: {docs}"])
