"""One job of the emulated cluster: its controller, and its pods, whose commands really run."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import Container

SPOT = {
    ("cloud.google.com/gke-spot", "true"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
    ("karpenter.sh/capacity-type", "spot"),
}
_RUNNING = threading.BoundedSemaphore(6)
"""Containers at once: the machine is small, whatever is asked of the emulator."""
_STEP = 0.05
_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))")
_MESSAGE_BYTES, _MESSAGE_LINES = 2048, 80
"""What a termination message holds of a log ("Determine the Reason for Pod Failure")."""


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A command's part with its variables replaced ("Define a Command and Arguments for a Container"): ``$(NAME)`` if
    there is one of that name, ``$$`` for ``$``."""
    return _REFERENCE.sub(lambda m: "$" if m[1] == "$" else variables.get(m[2], m[0]), text)


class Running:
    """A job and its pods, as the API shows them. ``lock`` guards both."""

    def __init__(
        self,
        job: dict[str, Any],
        misbehaviour: Misbehaviour,
        folder: Path,
        environment: Mapping[str, str],
        forget: Callable[[str], None],
    ) -> None:
        self.job = job
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.shown = time.monotonic()
        self.lock = threading.RLock()
        self.ending = threading.Event()
        self._misbehaviour = misbehaviour
        self._folder = folder
        self._environment = environment
        self._forget = forget
        self._failed: str | None = None
        status = job["status"] = {"startTime": now(), "active": 0, "ready": 0, "succeeded": 0, "failed": 0}
        self._status: dict[str, Any] = status

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.job["metadata"]["name"])

    @property
    def ended(self) -> bool:
        """Whether it is Complete or Failed."""
        return bool(self._status.get("conditions"))

    @property
    def spot(self) -> bool:
        """Whether its pods ask for spot nodes."""
        pod = self._pod_spec
        affinity = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        ) or {}
        asked = set((pod.get("nodeSelector") or {}).items()) | {
            (expression["key"], value)
            for term in affinity.get("nodeSelectorTerms") or ()
            for expression in term.get("matchExpressions") or ()
            for value in expression.get("values") or ()
        }
        return bool(asked & SPOT)

    @property
    def _pod_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.job["spec"]["template"]["spec"]
        return spec

    def run(self) -> None:
        """Run to the end; called in a thread of its own."""
        if self._misbehaviour.faults.start_delay:
            self.ending.wait(self._misbehaviour.faults.start_delay)
        count = self.job["spec"].get("completions") or 1
        threads = [threading.Thread(target=self._index, args=(n, count > 1), daemon=True) for n in range(count)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(_STEP)
        if self._failed is None and not self.ending.is_set():
            if self._misbehaviour.faults.missing_output:
                self._forget_output()
            self.complete()

    def time_is_over(self) -> None:
        """``activeDeadlineSeconds`` are over: the job fails, and its controller deletes the pods."""
        self._fail("DeadlineExceeded", "Job was active longer than specified deadline")
        with self.lock:
            self.pods.clear()

    def complete(self) -> None:
        """It has succeeded."""
        with self.lock:
            if not self.ended:
                self._status.update(active=0, ready=0, succeeded=self.job["spec"].get("completions") or 1)
                self._status["completionTime"] = now()
                self._condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods")

    def _fail(self, reason: str, message: str) -> None:
        with self.lock:
            if self._failed is None and not self.ended:
                self._failed = reason
                self._status.update(active=0, ready=0)
                self._condition("Failed", reason, message)
        self.ending.set()

    def _condition(self, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        self._status["conditions"] = [condition]

    def _index(self, index: int, indexed: bool) -> None:
        """One index of the job: pods, one after another, until one of them succeeds or the job fails."""
        failures = 0
        while not self.ending.is_set():
            pod = self._new_pod(index if indexed else None)
            action = self._run_pod(pod, index if indexed else None)
            if action == "done" or self.ending.is_set():
                return
            with self.lock:
                self._status["failed"] += 1
            if action == "ignore":
                continue
            if action == "fail":
                return
            failures += 1
            if failures > self.job["spec"].get("backoffLimit", 6):
                self._fail("BackoffLimitExceeded", "Job has reached the specified backoff limit")
                return

    def _new_pod(self, index: int | None) -> dict[str, Any]:
        template = self.job["spec"]["template"]
        name = "-".join(str(part) for part in (self.name, index, secrets.token_hex(3)[:5]) if part is not None)
        labels = {**(template.get("metadata") or {}).get("labels", {}), "batch.kubernetes.io/job-name": self.name}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.job["metadata"]["namespace"],
                "labels": labels,
                "creationTimestamp": now(),
                "uid": secrets.token_hex(16),
            },
            "spec": template["spec"],
            "status": {"phase": "Pending", "conditions": []},
        }
        with self.lock:
            self.pods[name] = pod
            self._status["active"] += 1
        return pod

    def _run_pod(self, pod: dict[str, Any], index: int | None) -> str:
        """Schedule and run one pod: ``done``, or what the job does about its failure (``count``, ``fail``,
        ``ignore``)."""
        try:
            if not self._scheduled(pod) or not self._pulled(pod):
                return "count"
            with _RUNNING:
                if self.ending.is_set():
                    return "count"
                return self._container(pod, index)
        finally:
            with self.lock:
                self._status["active"] = max(0, self._status["active"] - 1)

    def _scheduled(self, pod: dict[str, Any]) -> bool:
        while self._unschedulable():
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
            }
            pod["status"]["conditions"] = [condition]
            if self.ending.wait(0.1):
                return False
        pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        return not self.ending.is_set()

    def _unschedulable(self) -> bool:
        missing = set(self._misbehaviour.faults.no_capacity)
        if not missing:
            return False
        limits = (self._pod_spec["containers"][0].get("resources") or {}).get("limits") or {}
        asked = {*(self._pod_spec.get("nodeSelector") or {}).values(), *limits, self.job["metadata"]["namespace"]}
        return bool(missing & asked) or ("spot" in missing and self.spot)

    def _pulled(self, pod: dict[str, Any]) -> bool:
        container = self._pod_spec["containers"][0]
        image = container["image"]
        if image not in self._misbehaviour.faults.no_image:
            return True
        # The words of containerd.
        said = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
        backed_off = False
        while not self.ending.is_set():
            waiting = (
                {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}": ErrImagePull: {said}'}
                if backed_off
                else {"reason": "ErrImagePull", "message": said}
            )
            self._state(pod, {"waiting": waiting})
            backed_off = not backed_off
            self.ending.wait(0.3)
        return False

    def _container(self, pod: dict[str, Any], index: int | None) -> str:
        spec = self._pod_spec["containers"][0]
        variables = {v["name"]: expanded(v.get("value", ""), {}) for v in spec.get("env") or ()}
        if index is not None:
            variables["JOB_COMPLETION_INDEX"] = str(index)
        command = [expanded(part, variables) for part in (*(spec.get("command") or ()), *(spec.get("args") or ()))]
        began, started = now(), time.monotonic()
        try:
            container = Container(command, {**self._environment, **variables}, self._folder / pod["metadata"]["name"])
        except OSError as e:
            state = {"exitCode": 128, "reason": "StartError", "message": f"failed to create containerd task: {e}"}
            return self._over(pod, spec, {**state, "startedAt": began, "finishedAt": now()})
        self._state(pod, {"running": {"startedAt": began}}, phase="Running")
        with self.lock:
            self._status["ready"] += 1
        taken = self._taken(container, pod)
        limit = self._pod_spec.get("activeDeadlineSeconds")
        code = container.wait(
            _Either(self.ending, taken), limit, self._pod_spec.get("terminationGracePeriodSeconds", 30)
        )
        with self.lock:
            self._status["ready"] = max(0, self._status["ready"] - 1)
        log = container.text()
        if code is None:
            code = container.process.returncode
            if taken.is_set():
                self._disrupted(pod)
            elif not self.ending.is_set() and limit is not None and time.monotonic() >= started + limit:
                message = "Pod was active on the node longer than the specified deadline"
                pod["status"].update(reason="DeadlineExceeded", message=message)
        container.close()
        code = 128 - code if code < 0 else code
        state = {"exitCode": code, "reason": "Completed" if code == 0 else "OOMKilled" if code == 137 else "Error"}
        if code and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            lines = "\n".join(log.splitlines()[-_MESSAGE_LINES:])
            state["message"] = lines.encode()[-_MESSAGE_BYTES:].decode("utf-8", "replace")
        self.logs[pod["metadata"]["name"]] = log[-100_000:]
        return self._over(pod, spec, {**state, "startedAt": began, "finishedAt": now()})

    def _over(self, pod: dict[str, Any], spec: dict[str, Any], state: dict[str, Any]) -> str:
        code = state["exitCode"]
        self._state(pod, {"terminated": state}, phase="Failed" if code else "Succeeded")
        if code == 0:
            return "done"
        return self._by_policy(pod, spec["name"], code)

    def _by_policy(self, pod: dict[str, Any], container: str, code: int) -> str:
        """What the first rule that fits says ("Handling pod failures with a pod failure policy")."""
        conditions = {(c["type"], c["status"]) for c in pod["status"]["conditions"]}
        for n, rule in enumerate((self.job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
            codes = rule.get("onExitCodes")
            if codes is not None:
                fits = codes.get("containerName", container) == container
                fits = fits and (code in codes["values"]) == (codes["operator"] == "In")
            else:
                fits = any((c["type"], c.get("status", "True")) in conditions for c in rule["onPodConditions"])
            if not fits:
                continue
            if rule["action"] == "FailJob":
                name = pod["metadata"]["name"]
                self._fail(
                    "PodFailurePolicy",
                    f"Container {container} for pod {pod['metadata']['namespace']}/{name} failed with exit code {code} "
                    f"matching FailJob rule at index {n}",
                )
                return "fail"
            return "ignore" if rule["action"] == "Ignore" else "count"
        return "count"

    def _taken(self, container: Container, pod: dict[str, Any]) -> threading.Event:
        """Set when the node of a spot pod is taken away."""
        taken = threading.Event()
        if self.spot and self._misbehaviour.preempts():
            timer = threading.Timer(self._misbehaviour.faults.preempt_after, taken.set)
            timer.daemon = True
            timer.start()
        return taken

    def _disrupted(self, pod: dict[str, Any]) -> None:
        """The words of "Disruptions": the kubelet ends the pods of a node that shuts down."""
        message = "Pod was terminated in response to imminent node shutdown."
        pod["status"]["conditions"].append(
            {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message}
        )
        pod["status"].update(reason="Terminated", message=message)

    def _state(self, pod: dict[str, Any], state: dict[str, Any], phase: str = "Pending") -> None:
        container = self._pod_spec["containers"][0]
        with self.lock:
            pod["status"]["phase"] = phase
            pod["status"]["containerStatuses"] = [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                }
            ]

    def _forget_output(self) -> None:
        command = [str(part) for part in self._pod_spec["containers"][0].get("command") or ()]
        if "--output" in command:
            self._forget(command[command.index("--output") + 1])

    def end(self) -> None:
        """Take it away: its pods are ended, nothing of it goes on."""
        self.ending.set()


class _Either(threading.Event):
    """Set when one of two is."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._one, self._other = one, other

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the first; the other is looked at when the time is over."""
        return self._one.wait(timeout) or self._other.is_set()
