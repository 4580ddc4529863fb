"""Step `validate`: what the suite of `data.expect` says of the run's data version, training rows and holdout."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.records import DataVersion, FailedExpectation, Validation
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched


def run(ctx: StepContext) -> Validation:
    """Run the suite; the Data Docs stay in the run's folder, whatever came of it.

    Raises:
        StepError: expectations do not hold (each is named, with its failing rows), the suite has mistakes, or
            the data version is damaged.
    """
    from tidemill.tools.great_expectations import run_suite
    from tidemill.tools.versions import FILES

    suite, data = ctx.spec.data.expect, ctx.result(DataVersion)
    version = data.version
    if suite is None:
        raise StepError(f"{ctx.task_id}: the spec has no data.expect; this task has nothing to check.")
    folder = fetched(ctx, data)
    parts = {file.removesuffix(".parquet"): folder / file for file in reversed(FILES)}
    found = run_suite(ctx.project.path(suite), parts, ctx.scratch("validate") / "docs")
    if found.failed:
        raise StepError(_report(suite, version, found.checked, found.failed, str(found.docs)))
    ctx.log.info("%d checks of %s hold on data version %s; see %s", found.checked, suite, version, found.docs)
    return Validation(data_version=version, suite=suite, checked=found.checked, failed=(), docs=str(found.docs))


def _report(suite: str, version: str, checked: int, failed: Sequence[FailedExpectation], docs: str) -> str:
    lines = [f"{suite}: {len(failed)} of {checked} checks fail on data version {version}"]
    for one in failed:
        column = f" ({one.column})" if one.column else ""
        rows = f"{one.rows:,} of {one.of:,} rows; " if one.rows is not None and one.of is not None else ""
        lines.append(f"  {one.expectation}{column}: {rows}{one.detail}")
    return "\n".join([*lines, f"Data Docs: {docs}"])
