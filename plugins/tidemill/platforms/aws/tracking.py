"""SageMaker Experiments, beside MLflow: a pipeline is an experiment, a training a trial with one component."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering, words_of
from tidemill.platforms.aws.shapes import check
from tidemill.platforms.ports import Connections, PlatformError, TrackedTraining
from tidemill.spec.platform import Platform

_EXISTS: Final = re.compile(r"already exists|must be unique", re.IGNORECASE)
# Parameters, their keys and texts, and a name: SDK model (TrialComponentParameters, -Key320, StringParameterValue,
# ExperimentEntityName). A call takes ten metrics: BatchPutMetrics.
_PARAMETERS: Final = 300
_LONGEST_KEY: Final = 320
_LONGEST_TEXT: Final = 2500
_LONGEST_NAME: Final = 120
_METRICS: Final = 10


def open_tracking(platform: Platform, connections: Connections) -> Experiments:
    """The port ``Tracking`` over SageMaker Experiments."""
    return Experiments(Aws(platform, connections))


class Experiments:
    """The port ``Tracking`` of one account and region."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def log(self, training: TrackedTraining) -> str:
        """Write a training; once more changes nothing but what is new. Returns the trial component's ARN, which is
        what SageMaker's pages and searches know it by.

        Raises:
            PlatformError: not allowed, no answer, or a name that Experiments does not take.
        """
        experiment, trial = name_of(training.experiment), name_of(training.name).lower()
        tags = [{"Key": key, "Value": value} for key, value in {**self._aws.platform.tags, **training.tags}.items()]
        self._made("CreateExperiment", ExperimentName=experiment, Tags=tags)
        self._made("CreateTrial", TrialName=trial, ExperimentName=experiment, Tags=tags)
        parameters = _parameters(training.params)
        status = {"PrimaryStatus": "Completed"}
        component = {"TrialComponentName": trial, "Parameters": parameters, "Status": status}
        if not self._made("CreateTrialComponent", **component, Tags=tags):
            self._call("UpdateTrialComponent", **component)
        self._call("AssociateTrialComponent", TrialComponentName=trial, TrialName=trial)
        described = self._call("DescribeTrialComponent", TrialComponentName=trial)
        self._put_metrics(trial, training.metrics, {one["MetricName"] for one in described.get("Metrics", [])})
        return str(described["TrialComponentArn"])

    def _put_metrics(self, trial: str, metrics: Mapping[str, float], there: set[str]) -> None:
        now = datetime.now(UTC)
        new = [
            {"MetricName": name, "Timestamp": now, "Step": 0, "Value": float(value)}
            for name, value in sorted(metrics.items())
            if name not in there and math.isfinite(value)
        ]
        client = self._aws.client("sagemaker-metrics")
        for start in range(0, len(new), _METRICS):
            with answering(self._aws, "sagemaker:BatchPutMetrics"):
                answer = client.batch_put_metrics(TrialComponentName=trial, MetricData=new[start : start + _METRICS])
            # The same value of a step once more is a conflict, and is what was wanted.
            refused = [one["Code"] for one in answer.get("Errors", []) if one["Code"] != "CONFLICT_ERROR"]
            if refused:
                raise PlatformError(f"SageMaker Experiments did not take {len(refused)} metrics: {refused[0]}")

    def _made(self, operation: str, **body: Any) -> bool:
        """Make something; ``False`` if it is there already."""
        try:
            self._call(operation, **body)
        except _ThereAlready:
            return False
        return True

    def _call(self, operation: str, **body: Any) -> Mapping[str, Any]:
        client = self._aws.client("sagemaker")
        check(client, operation, body)
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        with answering(self._aws, f"sagemaker:{operation}"):
            try:
                answer: Mapping[str, Any] = getattr(client, method)(**body)
                return answer
            except client.exceptions.ClientError as e:
                if operation.startswith("Create") and _EXISTS.search(words_of(e)):
                    raise _ThereAlready from None
                raise


class _ThereAlready(Exception):
    """What was to be made exists."""


def name_of(text: str) -> str:
    """A name as Experiments takes it: letters, digits and single characters ``-`` between them."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:_LONGEST_NAME].rstrip("-")


def _parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in list(params.items())[:_PARAMETERS]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        # "." in the model's pattern is any character but a line's end.
        told = {"NumberValue": float(value)} if is_number else {"StringValue": " ".join(text.split())[:_LONGEST_TEXT]}
        found[str(key)[:_LONGEST_KEY]] = told
    return found
