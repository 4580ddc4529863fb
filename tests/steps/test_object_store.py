"""A pipeline whose rows are versioned in its bucket, step by step: what is recorded, protected and refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tests.emulators import Emulation
from tests.mlflow_store import copy_store
from tests.platforms import aws_emulated, clouds
from tidemill.ledger import views
from tidemill.project import Project
from tidemill.records import DataVersion, Evaluation, ModelVersion, Promotion, Run, Scores
from tidemill.steps import data, promote
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import fetched, stores_of
from tidemill.steps.ledger_io import record
from tidemill.tools.mlflow import open_mlflow

Make = Callable[..., StepContext]
JUL, AUG, SEP = (datetime(2013, month, 1, tzinfo=UTC) for month in (7, 8, 9))
GATE = {"when": {"roc_auc": {"at_least": 0.6, "gain": {"at_least": 0.0, "without_champion": "pass"}}}}


@pytest.fixture
def emulation() -> Iterator[Emulation]:
    yield aws_emulated.running()
    aws_emulated.running().set_faults()


@pytest.fixture
def make(
    make_context: Make, project: Project, emulation: Emulation, monkeypatch: pytest.MonkeyPatch, store_template: Any
) -> Make:
    """The context of a step of such a pipeline."""
    copy_store(store_template, project)
    first = datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # as it is stored
    times = [first + timedelta(hours=6 * n) for n in range(1100)]
    frame = pl.DataFrame({"id": range(1100), "time": times, "late": [n % 2 == 0 for n in range(1100)]})
    frame.write_parquet(project.root / "include" / "rows.parquet")
    connections = clouds.connections(monkeypatch, emulation)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def made(step: str, keep: str | None = "90 d", **given: Any) -> StepContext:
        versioned = {"version": "object-store", **({"keep": keep} if keep else {})}
        spec = {"platform": dict(aws_emulated.PLATFORM), "data": versioned, "promote": GATE}
        found = make_context(step, **{**spec, **given})
        return replace(found, connections=connections, log=logging.getLogger("test.object-store"))

    return made


def promoted(make: Make, found: DataVersion, as_of: datetime, against: str | None = None, **given: Any) -> Promotion:
    """What becomes of a version that was trained on these rows, and is good enough."""
    from mlflow import MlflowClient

    ctx = make("promote", as_of=as_of, run_id=f"run of {as_of}", **given)
    uri = open_mlflow(ctx.connections, ctx.project).uri
    client = MlflowClient(uri, uri)
    if against is None:
        client.create_registered_model(ctx.model)
    version = str(client.create_model_version(ctx.model, source=str(ctx.project.state / "none")).version)
    scores = Scores(metrics={"roc_auc": 0.7})
    made = ModelVersion(model=ctx.model, version=version, run_id=f"mlflow{version}", data_version=found.version)
    evaluation = Evaluation(
        data_version=found.version, run_id=made.run_id, rows=1, challenger=scores, champion_version=against,
        champion=scores if against else None,
    )  # fmt: skip
    run = Run(
        run_id=made.run_id, experiment="flights", data_version=found.version, code_version="c0de", spec_hash="5",
        seed=0, params={}, metrics={}, model_uri="none", seconds=1.0,
    )  # fmt: skip
    results = {**ctx.results, "data": found, "train": run, "evaluate": evaluation, "register": made}
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, views.RUN, run)
        record(ledger, ctx, views.EVALUATION, evaluation)
        record(ledger, ctx, views.REGISTERED, made, key=f"registered/{version}")
    return promote.run(replace(ctx, results=results))


def remove(emulation: Emulation, found: DataVersion) -> None:
    for each in found.objects:
        key = each.uri.removeprefix("s3://acme-ml/")
        aws_emulated.client(emulation, "s3").delete_object(Bucket="acme-ml", Key=key, VersionId=each.version)


def on_another_machine(ctx: StepContext) -> StepContext:
    return replace(ctx, project=replace(ctx.project, state=ctx.project.root / "elsewhere"))


def test_a_run_records_the_objects_and_the_next_steps_find_them(make: Make, emulation: Emulation) -> None:
    ctx = make("data")
    found = data.run(ctx)
    assert found.backend == "object-store"
    assert found.keep == "90 d"
    assert DataVersion.from_json(found.to_json()) == found
    s3 = aws_emulated.client(emulation, "s3")
    for each in found.objects:
        bucket, _, key = each.uri.removeprefix("s3://").partition("/")
        assert s3.head_object(Bucket=bucket, Key=key, VersionId=each.version)["ContentLength"] == each.size
        assert f"/versions/flights/{each.name}" in each.uri
    folder = fetched(on_another_machine(ctx), found)
    assert pl.read_parquet(folder / "holdout.parquet").height == found.holdout.rows
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model, kinds={views.DATA_VERSION})
    assert [e.body["objects"] for e in entries] == [found.to_json()["objects"]]


def test_the_same_rows_are_the_same_version(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data", keep=None))
    other = data.run(make("data", keep=None, as_of=AUG, run_id="august"))
    before = emulation.report()["calls"]["PutObject"]
    again = data.run(make("data", keep=None, run_id="again"))
    assert (again.version, again.objects) == (first.version, first.objects)
    assert emulation.report()["calls"]["PutObject"] == before
    assert {o.uri for o in other.objects} == {o.uri for o in first.objects}
    assert other.version != first.version


def test_rows_that_come_back_are_not_left_to_a_version_whose_time_runs(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data"))
    data.run(make("data", as_of=AUG, run_id="august"))
    again = data.run(make("data", run_id="again"))
    assert again.version == first.version
    remove(emulation, first)  # the time since August's rows came is over
    fetched(on_another_machine(make("data")), again)


def test_a_champions_rows_are_found_though_the_spec_names_another_bucket_by_then(
    make: Make, emulation: Emulation
) -> None:
    s3 = aws_emulated.client(emulation, "s3")
    s3.create_bucket(Bucket="acme-next", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_versioning(Bucket="acme-next", VersioningConfiguration={"Status": "Enabled"})
    moved = {"platform": {**aws_emulated.PLATFORM, "bucket": "s3://acme-next/ml"}}
    first = data.run(make("data"))
    assert promoted(make, first, JUL).outcome == "promoted"
    remove(emulation, first)
    folder = fetched(on_another_machine(make("data", **moved)), first)
    assert pl.read_parquet(folder / "train.parquet").height == first.train.rows
    again = data.run(make("data", **moved, run_id="again"))
    assert all(each.uri.startswith("s3://acme-next/ml/") for each in again.objects)


def test_a_rule_that_could_not_be_removed_is_removed_by_a_later_run(
    make: Make, emulation: Emulation, caplog: pytest.LogCaptureFixture
) -> None:
    def ours() -> list[Any]:
        s3 = aws_emulated.client(emulation, "s3")
        found = s3.get_bucket_lifecycle_configuration(Bucket="acme-ml")["Rules"]
        return [rule for rule in found if rule.get("Filter", {}).get("Prefix") == prefix]

    found = data.run(make("data"))
    prefix = found.objects[0].uri.removeprefix("s3://acme-ml/").removesuffix("holdout.parquet")
    assert len(ours()) == 1
    emulation.set_faults(denied=["PutBucketLifecycle", "DeleteBucketLifecycle"])
    with caplog.at_level(logging.WARNING):
        data.run(make("data", keep=None, run_id="denied"))
    assert "that of an earlier `keep` may still hold" in caplog.text
    emulation.set_faults()
    rest = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 1}}
    aws_emulated.client(emulation, "s3").put_bucket_lifecycle_configuration(
        Bucket="acme-ml", LifecycleConfiguration={"Rules": [rest, *ours()]}
    )
    data.run(make("data", keep=None, run_id="allowed"))
    assert ours() == []


def test_what_a_champion_was_trained_on_outlives_its_version(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data"))
    assert promoted(make, first, JUL).outcome == "promoted"
    second = data.run(make("data", as_of=AUG, run_id="august"))
    remove(emulation, first)  # the lifecycle's time has come
    folder = fetched(on_another_machine(make("data")), first)
    assert pl.read_parquet(folder / "train.parquet").height == first.train.rows
    assert promoted(make, second, AUG, against="1").outcome == "promoted"


def test_keep_that_is_written_later_protects_the_champion_first(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data", keep=None))
    assert promoted(make, first, JUL, keep=None).outcome == "promoted"
    data.run(make("data", as_of=AUG, run_id="august"))
    remove(emulation, first)
    stores_of(make("data"))("object-store").verify(first)


def test_a_challenger_whose_rows_are_gone_is_refused(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data"))
    remove(emulation, first)
    found = promoted(make, first, JUL)
    assert found.outcome == "refused"
    gone = first.objects[0]
    assert any(f"{gone.uri} has no version {gone.version} any more" in reason for reason in found.reasons)


def test_a_store_that_does_not_answer_at_the_gate_decides_nothing(make: Make, emulation: Emulation) -> None:
    first = data.run(make("data"))
    emulation.set_faults(fail={"GetObject": 99, "HeadObject": 99})
    with pytest.raises(StepError) as error:
        promoted(make, first, JUL)
    assert error.value.retry
    with make("promote").open_ledger() as ledger:
        assert ledger.entries("flights", kinds={views.PROMOTION}) == []


def test_protection_that_is_not_allowed_is_a_warning(
    make: Make, emulation: Emulation, caplog: pytest.LogCaptureFixture
) -> None:
    first = data.run(make("data"))
    emulation.set_faults(denied=["PutObject"])
    with caplog.at_level(logging.WARNING):
        assert promoted(make, first, JUL).outcome == "promoted"
    assert "is not protected from the lifecycle of versions" in caplog.text
    assert "may not do s3:PutObject" in caplog.text


def test_a_pipeline_that_moved_home_says_where_its_rows_lie(make: Make) -> None:
    first = data.run(make("data"))
    moved = make("data", platform={"provider": "local"}, keep=None)
    moved = replace(moved, spec=moved.spec.model_copy(update={"platform": type(moved.spec.platform)(provider="local")}))
    with pytest.raises(StepError, match=r"the data version lies in a bucket.*platform\.bucket again"):
        fetched(moved, first)
