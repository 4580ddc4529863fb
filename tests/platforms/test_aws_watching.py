"""CloudWatch and SageMaker Experiments, over the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.emulators import Emulation
from tests.platforms.aws_emulated import client
from tidemill.platforms.aws.tracking import name_of
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import PlatformError, TrackedTraining

SERVICE = "sagemaker"


def test_numbers_reach_cloudwatch_but_for_those_that_are_none(emulation: Emulation, cloud: Cloud) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    values = {"roc_auc": 0.75, "psi": float("nan"), "loss": float("inf"), "huge": 1e300, "zero": 0.0}
    cloud.metrics.put(values, {"pipeline": "flight_delays", "empty": " ", "city": "Zürich"}, now)
    watch = client(emulation, "cloudwatch")
    listed = watch.list_metrics(Namespace="Tidemill")["Metrics"]
    assert sorted(one["MetricName"] for one in listed) == ["roc_auc", "zero"]
    dimensions = [{"Name": "city", "Value": "Z?rich"}, {"Name": "pipeline", "Value": "flight_delays"}]
    found = watch.get_metric_statistics(
        Namespace="Tidemill",
        MetricName="roc_auc",
        Dimensions=dimensions,
        StartTime=now - timedelta(minutes=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Average"],
    )
    assert [point["Average"] for point in found["Datapoints"]] == [0.75]


def test_what_alarms_watch_is_told_without_the_version_too(emulation: Emulation, cloud: Cloud) -> None:
    dimensions = {"model": "watched", "version": "7", "dag_id": "watched.monitor"}
    values = {"drifted": 1.0, "metric_high.roc_auc": 0.6, "metric.roc_auc": 0.5, "distance.carrier": 0.3}
    cloud.metrics.put(values, dimensions, datetime.now(UTC))
    listed = client(emulation, "cloudwatch").list_metrics(
        Namespace="Tidemill", Dimensions=[{"Name": "model", "Value": "watched"}]
    )["Metrics"]
    told = sorted((one["MetricName"], len(one["Dimensions"])) for one in listed)
    assert told == [
        ("distance.carrier", 3), ("drifted", 2), ("drifted", 3), ("metric.roc_auc", 3),
        ("metric_high.roc_auc", 2), ("metric_high.roc_auc", 3),
    ]  # fmt: skip


def test_more_numbers_than_a_call_takes(emulation: Emulation, cloud: Cloud) -> None:
    before = emulation.report()["calls"].get("PutMetricData", 0)
    cloud.metrics.put({f"column_{n}": float(n) for n in range(501)}, {"pipeline": "wide"}, datetime.now(UTC))
    assert emulation.report()["calls"]["PutMetricData"] - before == 2


def test_what_cloudwatch_does_not_take_is_told(emulation: Emulation, cloud: Cloud) -> None:
    with pytest.raises(PlatformError, match="14 days ago; these are of 2013-07-01") as caught:
        cloud.metrics.put({"x": 1.0}, {}, datetime(2013, 7, 1, tzinfo=UTC))
    assert caught.value.fault == "user"
    emulation.set_faults(denied=["PutMetricData"])
    with pytest.raises(PlatformError, match="may not do cloudwatch:PutMetricData"):
        cloud.metrics.put({"x": 1.0}, {}, datetime.now(UTC))


def test_a_training_is_a_trial_and_once_more_changes_nothing(emulation: Emulation, cloud: Cloud) -> None:
    training = TrackedTraining(
        name="tm-1a2b-flight-delays-train-1",
        experiment="flight_delays",
        params={"learning_rate": 0.1, "layers": [1, 2], "on": True, "text": "two\nlines"},
        metrics={"roc_auc": 0.75, "loss": 0.5, "odd": float("nan")},
        tags={"tidemill-dag": "flight_delays"},
    )
    arn = cloud.tracking.log(training)
    assert cloud.tracking.log(training) == arn
    assert arn.endswith("experiment-trial-component/tm-1a2b-flight-delays-train-1")
    sagemaker = client(emulation, "sagemaker")
    assert sagemaker.describe_experiment(ExperimentName="flight-delays")["ExperimentName"] == "flight-delays"
    made = sagemaker.describe_trial_component(TrialComponentName=training.name)
    assert made["Parameters"] == {
        "learning_rate": {"NumberValue": 0.1},
        "layers": {"StringValue": "[1, 2]"},
        "on": {"StringValue": "true"},
        "text": {"StringValue": "two lines"},
    }
    assert sagemaker.list_trial_components(TrialName=training.name)["TrialComponentSummaries"]


def test_tracking_that_is_not_allowed_is_told(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(denied=["CreateTrial"])
    with pytest.raises(PlatformError, match="may not do sagemaker:CreateTrial;"):
        cloud.tracking.log(TrackedTraining("denied", "flight_delays", {}, {}, {}))


@pytest.mark.parametrize(
    ("given", "name"), [("flight_delays", "flight-delays"), ("a__b.c-", "a-b-c"), ("x" * 130, "x" * 120)]
)
def test_names_as_experiments_takes_them(given: str, name: str) -> None:
    assert name_of(given) == name
