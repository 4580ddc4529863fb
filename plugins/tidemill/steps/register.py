"""The trained model as a version of the registered model, with all that says where it came from."""

from __future__ import annotations

from pathlib import Path

from tidemill.ledger import views
from tidemill.records import DataVersion, ModelVersion, Reference, Run
from tidemill.steps.code import git_commit
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import record
from tidemill.steps.owner import check_owner
from tidemill.steps.reference import ARTIFACTS


def run(ctx: StepContext) -> ModelVersion:
    """Register the run's model; the same run is the same version, however often this is tried.

    Raises:
        StepError: the model is another pipeline's; MLflow cannot be reached (``retry``), or refuses.
    """
    from tidemill.tools.mlflow import open_mlflow

    trained, data, reference = ctx.result(Run), ctx.result(DataVersion), ctx.result(Reference)
    with ctx.open_ledger() as ledger:
        check_owner(ledger, ctx)
    mlflow = open_mlflow(ctx.connections, ctx.project)
    for path in filter(None, (reference.path, reference.predictions)):
        sketch = Path(path)
        if not sketch.is_file():
            raise StepError(f"the sketch {sketch} is not here; do all workers share the state folder?")
        # Before the version exists: a version whose reference is missing could never be monitored.
        mlflow.log_artifact(trained.run_id, sketch, ARTIFACTS)
    version = mlflow.register(ctx.model, trained.run_id, trained.model_uri, version_tags(ctx, data, trained))
    made = ModelVersion(model=ctx.model, version=version, run_id=trained.run_id, data_version=data.version)
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, views.REGISTERED, made, key=f"registered/{trained.run_id}")
    ctx.links["mlflow"] = link = mlflow.version_link(ctx.model, version) or ""
    ctx.log.info("version %s of %s%s", version, ctx.model, f": {link}" if link else "")
    return made


def version_tags(ctx: StepContext, data: DataVersion, trained: Run) -> dict[str, str]:
    """The tags of a version: pipeline, run, data, code, spec, instant and the training rows' window."""
    tags = {
        "pipeline": ctx.pipeline,
        "dag": ctx.dag_id,
        "dag_run": ctx.run_id,
        "data_version": data.version,
        "code_version": trained.code_version,
        "spec_hash": trained.spec_hash,
        "as_of": ctx.as_of.instant.isoformat(),
        "train_start": data.train.start.isoformat(),
        "train_end": data.train.end.isoformat(),
    }
    commit = git_commit(ctx.project.root)
    if commit is not None:
        tags["git_commit"] = commit
    return {f"tidemill.{name}": value for name, value in tags.items()}
