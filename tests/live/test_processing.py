"""Steps that run as SageMaker processing jobs, in a live Airflow: the same numbers as where they run here."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.flights import prepare
from tests.emulators import start
from tests.emulators.examples import PLATFORMS
from tests.live.conftest import REPOSITORY, Live, empty_project, running

# An Airflow of its own for minutes: beside the other one of `make test` neither would come to anything.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1200)]

SPEC = """
tidemill: 1
data:
  source: include/flights/departures.parquet
  key: [flight_id]
  window: {column: time_hour, train: 1 month, holdout: 1 month}
  expect: include/flights/expectations.yaml
train:
  code: include.flights.train:train
  params: {max_iter: 30}
  seed: 2013
evaluate: {task: classification, target: late, metrics: [roc_auc, log_loss], slices: [carrier]}
promote:
  when: {roc_auc: {at_least: 0.6}}
score: {window: 1 month, rows: 10000}
monitor:
  window: 1 month
  drift: {distance: psi, at_least: 0.2, share: 30%}
  performance: {roc_auc: {at_least: 0.5}}
"""
AWAY: Mapping[str, Any] = {
    "platform": {**PLATFORMS["sagemaker"], "processing": {"machine": ["ml.m5.large", "ml.m5.xlarge"]}},
    "train": {"service": "sagemaker", "image": "a/b:1", "resources": {"machine": "ml.m5.xlarge"}},
}
HERE: Mapping[str, Any] = {"platform": {"provider": "local"}}
AS_OF, LATER = "2013-04-01T00:00:00+00:00", "2013-05-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("processing") / "project"
    empty_project(root)
    (root / "include" / "__init__.py").touch()
    flights = root / "include" / "flights"
    shutil.copytree(REPOSITORY / "include" / "flights", flights, ignore=shutil.ignore_patterns("*.parquet*"))
    prepare.DEPARTURES.prepare(flights / "departures.parquet")
    folder = root.parent / "aws"
    folder.mkdir()
    with (
        start("aws", folder, PLATFORMS["sagemaker"]) as emulation,
        running(root, emulation.environment) as live,
    ):
        yield live


def went(live: Live, name: str, more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the ledger has of a pipeline that was trained, scored a month, and was watched for it."""
    spec = yaml.safe_load(SPEC)
    for section, settings in more.items():
        spec[section] = {**spec.get(section, {}), **settings}
    live.dag_file(f"{name}.yaml", yaml.safe_dump(spec, sort_keys=False))
    for dag, as_of in ((name, AS_OF), (f"{name}.score", LATER), (f"{name}.monitor", LATER)):
        live.wait_for_dag(dag)
        live.api.pause(dag, False)
        run = live.api.start(dag, None, {"as_of": as_of})["dag_run_id"]
        live.finish(dag, run, 400)
    with live.ledger() as ledger:
        return {kind: dict(ledger.entries(name, kinds=[kind])[-1].body) for kind in ("evaluation", "scoring", "drift")}


def numbers(value: Any) -> list[float]:
    """Every number in a JSON value, in its order."""
    if isinstance(value, Mapping):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def scores(folder: str) -> Any:
    import polars as pl

    table = pl.read_parquet(sorted(Path(folder).glob("part-*.parquet")), hive_partitioning=False)
    return table.select("flight_id", pl.col("^probability_.*$")).sort("flight_id")


def test_steps_that_run_as_processing_jobs_come_to_the_same(live: Live) -> None:
    from polars.testing import assert_frame_equal

    here, away = went(live, "here", HERE), went(live, "away", AWAY)
    for kind, names in {
        "evaluation": ("rows", "challenger"),
        "scoring": ("rows", "parts", "unscored"),
        "drift": ("rows", "columns", "performance", "share_drifted"),
    }.items():
        expected = numbers([here[kind][name] for name in names])
        assert len(expected) > len(names) - 1
        assert numbers([away[kind][name] for name in names]) == pytest.approx(expected, abs=1e-9)
    assert here["scoring"]["data_version"] == away["scoring"]["data_version"]
    assert_frame_equal(scores(here["scoring"]["path"]), scores(away["scoring"]["path"]), abs_tol=1e-9, rel_tol=0)
    assert Path(away["drift"]["page"]).is_file()
    with live.ledger() as ledger:
        jobs = Counter((e.body["service"], e.body["state"]) for e in ledger.entries("away", kinds=["job"]))
    each = ("intended", "submitted", "succeeded")
    assert jobs == {(s, state): n for s, n in (("sagemaker", 1), ("sagemaker-processing", 4)) for state in each}
