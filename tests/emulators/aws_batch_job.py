"""One job of the emulated AWS Batch: its attempts, and what decides whether there is another one."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.emulators.aws_store import ACCOUNT, Store, split
from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import Container

_RUNNING = threading.BoundedSemaphore(6)
_ENDED = frozenset({"SUCCEEDED", "FAILED"})


class BatchJob:
    """A job. ``described`` is what DescribeJobs answers, but for what depends on how it is asked."""

    store: Store
    credentials: Callable[[], dict[str, str]]

    def __init__(
        self,
        body: Mapping[str, Any],
        definition: Mapping[str, Any],
        region: str,
        queue: str,
        spot: bool,
        misbehaviour: Misbehaviour,
        folder: Path,
    ) -> None:
        self.id = str(uuid4())
        self.name: str = body["jobName"]
        self.arn = f"arn:aws:batch:{region}:{ACCOUNT}:job/{self.id}"
        self.region = region
        self.queue = queue
        self.spot = spot
        self.shown = time.monotonic()
        self.stop = threading.Event()
        self.log = ""
        self._body = body
        self._definition = definition
        self._misbehaviour = misbehaviour
        self._folder = folder
        self._lock = threading.RLock()
        self._codes: list[int | None] = []
        self._reason = ""
        self.described: dict[str, Any] = {
            "jobArn": self.arn,
            "jobId": self.id,
            "jobName": self.name,
            "jobQueue": f"arn:aws:batch:{region}:{ACCOUNT}:job-queue/{queue}",
            "jobDefinition": definition["jobDefinitionArn"],
            "status": "SUBMITTED",
            "createdAt": _now(),
            "startedAt": 0,
            "attempts": [],
            "parameters": body.get("parameters", {}),
            "tags": body.get("tags", {}),
            "retryStrategy": body.get("retryStrategy", definition.get("retryStrategy", {"attempts": 1})),
        }

    def description(self) -> dict[str, Any]:
        """What DescribeJobs tells of it."""
        with self._lock:
            found = {**self.described, "attempts": list(self.described["attempts"])}
            if "nodeProperties" in self._definition:
                found["nodeProperties"] = self._definition["nodeProperties"]
            else:
                found["container"] = self._container_detail(0)
            return found

    def node(self, index: int) -> dict[str, Any]:
        """What DescribeJobs tells of one node of a multi-node job."""
        with self._lock:
            detail = {"nodeIndex": index, "isMainNode": index == 0}
            return {
                **self.described,
                "jobId": f"{self.id}#{index}",
                "attempts": list(self.described["attempts"]),
                "container": self._container_detail(index),
                "nodeDetails": detail,
            }

    def begin(self) -> None:
        """A job that holds a machine and does nothing."""
        with self._lock:
            if self.described["status"] not in _ENDED:
                self.described.update(status="RUNNING", startedAt=_now())

    def complete_at_once(self) -> None:
        """A job that runs nothing has succeeded."""
        self.begin()
        self._end("SUCCEEDED", "")

    def terminate(self, reason: str) -> None:
        """TerminateJob, or CancelJob."""
        with self._lock:
            if self.described["status"] in _ENDED:
                return
            self.described["isTerminated"] = True
            self._reason = reason
            self.stop.set()
            faults = self._misbehaviour.faults
            if self.described["status"] != "RUNNING" or faults.hold or faults.noop:
                self._end("FAILED", reason)

    def run(self) -> None:
        """Run to the end. Called in a thread of its own."""
        try:
            self._run()
        except Exception as e:  # noqa: BLE001  (the emulator's own mistake has to be seen)
            self._end("FAILED", f"the emulator: {type(e).__name__}: {e}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        strategy = self.described["retryStrategy"]
        for number in range(1, strategy.get("attempts", 1) + 1):
            if not self._launched():
                self._end("FAILED", self._reason)
                return
            code, reason, status = self._attempt(number)
            with self._lock:
                self.described["attempts"].append(
                    {
                        "container": {"exitCode": code, "reason": reason} if code is not None else {"reason": reason},
                        "startedAt": self.described["startedAt"],
                        "stoppedAt": _now(),
                        "statusReason": status,
                    }
                )
            self._codes[:1] = [code]
            if code == 0:
                self._end("SUCCEEDED", status)
                return
            # "If a job is terminated due to a timeout, it isn't retried": user guide, "Job timeouts"
            final = self.stop.is_set() or "timeout" in status
            if final or not _again(strategy, code, reason, status):
                self._end("FAILED", self._reason or status, reason)
                return
            self._become("RUNNABLE")
        self._end("FAILED", status, reason)

    def _launched(self) -> bool:
        """Wait for a machine: a job for which there is none stays RUNNABLE, however long."""
        self._become("RUNNABLE")
        while not self.stop.is_set():
            faults = self._misbehaviour.faults
            if not faults.lacks(self.queue, self.region) and not (self.spot and faults.lacks("spot", self.region)):
                self._become("STARTING")
                return True
            self.stop.wait(0.1)
        return False

    def _attempt(self, number: int) -> tuple[int | None, str, str]:
        """Run once: exit code, the container's reason, the attempt's."""
        image = self._container_properties()["image"]
        if image in self._misbehaviour.faults.no_image:
            # "CannotPullContainer task errors in Amazon ECS", ECS developer guide
            reason = f"CannotPullContainerError: pull image manifest has been retried 5 time(s): {image} not found"
            return None, reason, "Task failed to start"
        with _RUNNING:
            self.begin()
            count = self._count()
            containers = [self._container(index, number) for index in range(count)]
            try:
                return self._follow(containers)
            finally:
                for container in containers:
                    container.end(1.0)
                    self.log = (self.log + container.text())[-20_000:]
                    container.close()

    def _follow(self, containers: list[Container]) -> tuple[int | None, str, str]:
        taken = threading.Event()
        if self.spot and self._misbehaviour.preempts():
            threading.Timer(self._misbehaviour.faults.preempt_after, taken.set).start()
        timeout = self._body.get("timeout", self._definition.get("timeout", {})).get("attemptDurationSeconds")
        main, started = containers[0], time.monotonic()
        # "When the main node exits, the other nodes are ended": user guide, "Multi-node parallel jobs"
        while True:
            code = main.process.poll()
            if code is not None:
                break
            if taken.is_set():
                main.end(5.0)
                # The words that the user guide's page "Automated job retries" has for a Spot interruption.
                return None, "", "Host EC2 (instance i-0123456789abcdef0) terminated."
            if self.stop.wait(0.05):
                main.end(5.0)
                return 143, "", self._reason
            if timeout is not None and time.monotonic() - started > timeout:
                main.end(5.0)
                return 137, "", "Job attempt duration exceeded timeout"
        code = 128 - code if code < 0 else code
        if code == 0:
            self._lose_output(main)
        # "OutOfMemoryError: Container killed due to memory usage": ECS, "Stopped tasks error codes"
        reason = "OutOfMemoryError: Container killed due to memory usage" if code == 137 else ""
        return code, reason, "Essential container in task exited"

    def _lose_output(self, main: Container) -> None:
        command = [str(part) for part in self._command()]
        if self._misbehaviour.faults.missing_output and "--output" in command:
            uri = command[command.index("--output") + 1]
            for key, _ in list(self.store.names(uri)):
                self.store.remove(f"s3://{split(uri)[0]}/{key}")

    def _count(self) -> int:
        nodes = self._definition.get("nodeProperties")
        count: int = nodes["numNodes"] if nodes else 1
        return count

    def _container_properties(self) -> Mapping[str, Any]:
        nodes = self._definition.get("nodeProperties")
        found: Mapping[str, Any] = (
            nodes["nodeRangeProperties"][0]["container"] if nodes else self._definition["containerProperties"]
        )
        return found

    def _overrides(self) -> Mapping[str, Any]:
        nodes = self._body.get("nodeOverrides", {}).get("nodePropertyOverrides", [{}])
        found: Mapping[str, Any] = self._body.get("containerOverrides") or nodes[0].get("containerOverrides", {})
        return found

    def _command(self) -> list[str]:
        given = self._overrides().get("command") or self._container_properties().get("command", [])
        values = {**self._definition.get("parameters", {}), **self._body.get("parameters", {})}
        # "Parameter substitution": Ref::name is replaced where a parameter of that name is given, user guide
        return [values.get(part[5:], part) if part.startswith("Ref::") else part for part in given]

    def _container(self, index: int, attempt: int) -> Container:
        entries = [*self._container_properties().get("environment", []), *self._overrides().get("environment", [])]
        # "AWS Batch job environment variables", user guide
        environment = {
            **self.credentials(),
            "AWS_REGION": self.region,
            "AWS_BATCH_JOB_ID": self.id,
            "AWS_BATCH_JQ_NAME": self.queue,
            "AWS_BATCH_JOB_ATTEMPT": str(attempt),
            **{entry["name"]: entry["value"] for entry in entries},
        }
        if "nodeProperties" in self._definition:
            environment.update(
                AWS_BATCH_JOB_ID=f"{self.id}#{index}",
                AWS_BATCH_JOB_NUM_NODES=str(self._count()),
                AWS_BATCH_JOB_NODE_INDEX=str(index),
                AWS_BATCH_JOB_MAIN_NODE_INDEX="0",
            )
            if index:
                environment["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = "127.0.0.1"
        return Container(self._command(), environment, self._folder / f"{attempt}-{index}")

    def _container_detail(self, index: int) -> dict[str, Any]:
        found = {key: value for key, value in self._container_properties().items() if key in {"image", "jobRoleArn"}}
        if self._codes and self._codes[0] is not None:
            found["exitCode"] = self._codes[0]
        reasons = [attempt["container"].get("reason") for attempt in self.described["attempts"][-1:]]
        if reasons and reasons[0]:
            found["reason"] = reasons[0]
        found["logStreamName"] = f"{self._definition['jobDefinitionName']}/default/{self.id.replace('-', '')}"
        return {**found, "command": self._command()}

    def _become(self, status: str) -> None:
        with self._lock:
            if self.described["status"] not in _ENDED:
                self.described["status"] = status

    def _end(self, status: str, reason: str, container: str = "") -> None:
        with self._lock:
            if self.described["status"] not in _ENDED:
                self.described.update(status=status, stoppedAt=_now())
                if reason:
                    self.described["statusReason"] = reason


def _again(strategy: Mapping[str, Any], code: int | None, reason: str, status: str) -> bool:
    """Whether a failed attempt is followed by another: by the first rule whose conditions all hold; "if none of the
    listed conditions match, then the job is retried" (user guide, "Automated job retries")."""
    for rule in strategy.get("evaluateOnExit", []):
        pairs = (("onStatusReason", status), ("onReason", reason), ("onExitCode", "" if code is None else str(code)))
        if all(_matches(rule[key], text) for key, text in pairs if key in rule):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _now() -> int:
    return round(time.time() * 1000)
