"""A small Kubernetes API server on loopback, with the controller of jobs: their containers really run.

Namespaces, ``batch/v1`` jobs and ``v1`` pods, as far as the product has to do with them. A bucket of S3 is that of the
AWS emulator, which is started beside it; pods get its credentials as EKS Pod Identity gives them. A volume is the
folder that the specification names.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from werkzeug.wrappers import Request, Response

from tests.emulators import Emulation, connection_variable
from tests.emulators.clock import Clock
from tests.emulators.kubernetes_jobs import Running, now
from tests.emulators.kubernetes_rules import IMMUTABLE, faults, selects
from tests.emulators.server import Emulator, Refusal, launch, serve

_JOBS: Final = re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?(/status)?")
_PODS: Final = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)(/log)?)?")
_SPACE: Final = re.compile(r"/api/v1/namespaces/([^/]+)")
_VERBS: Final = {"GET": "read", "POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "replace"}
_TOKEN: Final = "test"
_NOOP_SECONDS: Final = 0.2


class Kubernetes(Emulator):
    """The API server and its jobs. State is in memory."""

    def __init__(self, folder: Path, platform: Mapping[str, Any]) -> None:
        super().__init__(folder, platform)
        self.jobs: dict[tuple[str, str], Running] = {}
        places = (platform, *platform.get("fallback", []))
        self.namespaces = {"default", *(str(place["namespace"]) for place in places if place.get("namespace"))}
        self.store: Emulation | None = None
        self._lock = threading.RLock()
        self._clock = Clock()
        self._pages: dict[str, list[dict[str, Any]]] = {}

    def ready(self) -> None:
        """The bucket exists, or the volume's folder."""
        bucket, volume = str(self.platform.get("bucket") or ""), self.platform.get("volume")
        if volume:
            Path(volume["path"]).mkdir(parents=True, exist_ok=True)
        elif bucket.startswith("s3://"):
            from tests.emulators import aws

            owner = {"provider": "aws", "bucket": bucket, "connection": self.platform.get("bucket_connection")}
            self.store = aws.start(self.folder / "store", owner)
        elif bucket:
            raise ValueError(f"{bucket}: beside this emulator there are buckets of S3 alone")

    def close(self) -> None:
        """End every pod, and the store."""
        for running in self.jobs.values():
            running.end()
        time.sleep(0.2)
        if self.store is not None:
            self.store.stop()

    def describe(self) -> dict[str, Any]:
        """The jobs with their logs, and how the store is reached."""
        return {
            "jobs": [
                {"name": name, "status": running.job["status"], "log": "".join(running.logs.values())[-2000:]}
                for (_, name), running in list(self.jobs.items())
            ],
            "environment": dict(self.store.environment) if self.store else {},
        }

    def operation(self, request: Request) -> str:
        """The name that the Python client gives the call."""
        for pattern, kind in ((_JOBS, "job"), (_PODS, "pod"), (_SPACE, "namespace")):
            found = pattern.fullmatch(request.path)
            if found is None:
                continue
            if kind == "namespace":
                return "read_namespace"
            verb = _VERBS.get(request.method, "unknown")
            if verb == "read" and found[2] is None:
                verb = "list"
            return f"{verb}_namespaced_{kind}{'_log' if found[3] == '/log' else ''}"
        return request.path

    def perform(self, operation: str, request: Request) -> Response:
        """Answer as the API server does."""
        if request.headers.get("Authorization") != f"Bearer {_TOKEN}":
            return _status(401, "Unauthorized", "Unauthorized")
        found = next(filter(None, (p.fullmatch(request.path) for p in (_JOBS, _PODS, _SPACE))), None)
        if found is None:
            return _status(404, "NotFound", "the server could not find the requested resource")
        namespace = found[1]
        if namespace not in self.namespaces:
            return _status(404, "NotFound", f'namespaces "{namespace}" not found')
        with self._lock:
            if operation == "create_namespaced_job":
                return self._create(namespace, request.get_json(force=True))
            if operation == "read_namespace":
                return _json({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}})
            if operation.startswith("list_"):
                return self._list(operation, namespace, request)
            if operation.endswith("_job"):
                return self._one(operation, namespace, found[2], request)
            return self._pod(operation, namespace, found[2])

    def refuse(self, kind: Refusal, operation: str, request: Request) -> Response:
        """As API Priority and Fairness, a failing etcd and RBAC word it."""
        if kind == "throttle":
            response = _status(429, "TooManyRequests", "the server has received too many requests; try again later")
            response.headers["Retry-After"] = "1"
            return response
        if kind == "fail":
            return _status(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
        verb, _, what = operation.partition("_namespaced_")
        group = "batch" if what == "job" else ""
        return _status(
            403,
            "Forbidden",
            f'{what}s{"." + group if group else ""} is forbidden: User "test" cannot {verb} resource "{what}s" in API '
            f'group "{group}" in the namespace "{self.platform.get("namespace")}"',
        )

    def _create(self, namespace: str, job: dict[str, Any]) -> Response:
        name = str((job.get("metadata") or {}).get("name") or "")
        wrong = list(faults(job))
        if wrong:
            return _status(422, "Invalid", f'Job.batch "{name}" is invalid: {"; ".join(wrong)}')
        if (namespace, name) in self.jobs:
            return _status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job["metadata"].update(namespace=namespace, uid=secrets.token_hex(16), creationTimestamp=now())
        running = Running(job, self.misbehaviour, self.folder / "pods", self._environment(), self._forget)
        self.jobs[namespace, name] = running
        if self.misbehaviour.faults.noop:
            job["status"].update(active=1, ready=1)
            self._clock.after(self.misbehaviour.faults.start_delay + _NOOP_SECONDS, running.complete)
        elif self.misbehaviour.faults.hold:
            job["status"].update(active=1, ready=1)
        else:
            threading.Thread(target=running.run, daemon=True).start()
        return _json(job, 201)

    def _environment(self) -> dict[str, str]:
        """What the webhook of EKS Pod Identity puts into a container, and here the store's address."""
        if self.store is None:
            return {}
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.store.url}/v2/credentials/container",
            "AWS_ENDPOINT_URL_S3": self.store.url,
            "AWS_REGION": "us-east-1",
        }

    def _list(self, operation: str, namespace: str, request: Request) -> Response:
        """A page of a list. Pages are of one moment: the rest is kept for who asks for it."""
        jobs = operation == "list_namespaced_job"
        following = request.args.get("continue")
        if following:
            rest = self._pages.pop(following, None)
            if rest is None:
                return _status(
                    410, "Expired", "The provided continue parameter is too old to display a consistent list"
                )
        else:
            oldest = time.monotonic() - self.misbehaviour.faults.listing_delay
            shown = [r for (space, _), r in sorted(self.jobs.items()) if space == namespace and r.shown <= oldest]
            rest = []
            for running in shown:
                with running.lock:
                    rest += [running.job] if jobs else list(running.pods.values())
            selector = request.args.get("labelSelector", "")
            rest = [item for item in rest if selects(selector, item["metadata"].get("labels") or {})]
        limit = int(request.args.get("limit") or 0) or len(rest)
        token = secrets.token_hex(8) if len(rest) > limit else ""
        if token:
            self._pages[token] = rest[limit:]
        kind, version = ("JobList", "batch/v1") if jobs else ("PodList", "v1")
        meta = {"resourceVersion": "1", "continue": token}
        return _json({"kind": kind, "apiVersion": version, "metadata": meta, "items": rest[:limit]})

    def _one(self, operation: str, namespace: str, name: str, request: Request) -> Response:
        running = self.jobs.get((namespace, name))
        if running is None:
            return _status(404, "NotFound", f'jobs.batch "{name}" not found')
        if operation == "delete_namespaced_job":
            running.end()
            del self.jobs[namespace, name]
            return _json({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if operation == "patch_namespaced_job":
            patch = request.get_json(force=True)
            changed = [field for field in IMMUTABLE if field in (patch.get("spec") or {})]
            if changed:
                said = f'Job.batch "{name}" is invalid: spec.{changed[0]}: Invalid value: field is immutable'
                return _status(422, "Invalid", said)
            with running.lock:
                _merge(running.job, patch)
            limit = running.job["spec"].get("activeDeadlineSeconds")
            if limit is not None:
                self._clock.after(limit, running.time_is_over)
        with running.lock:
            return _json(running.job)

    def _pod(self, operation: str, namespace: str, name: str) -> Response:
        for (space, _), running in self.jobs.items():
            if space == namespace and name in running.pods:
                if operation == "read_namespaced_pod_log":
                    return Response(running.logs.get(name, ""), content_type="text/plain")
                return _json(running.pods[name])
        return _status(404, "NotFound", f'pods "{name}" not found')

    def _forget(self, place: str) -> None:
        """Remove what a job left, as if it had never been."""
        if "://" not in place:
            shutil.rmtree(place, ignore_errors=True)
        elif self.store is not None:
            import boto3

            bucket, _, key = place.removeprefix("s3://").partition("/")
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
            boto3.resource("s3", endpoint_url=self.store.url, **keys).Bucket(bucket).objects.filter(Prefix=key).delete()


def _merge(value: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, new in patch.items():
        if isinstance(new, Mapping):
            if value.get(key) is None:
                value[key] = {}
            _merge(value[key], new)
        else:
            value[key] = new


def _json(value: Mapping[str, Any], code: int = 200) -> Response:
    return Response(json.dumps(value), code, content_type="application/json")


def _status(code: int, reason: str, message: str) -> Response:
    value = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
    return _json(value, code)


def start(folder: Path, platform: Mapping[str, Any]) -> Emulation:
    """Start the emulator with what the platform names: its namespace, its bucket or its volume."""
    url, process = launch("tests.emulators.kubernetes", folder, platform)
    with urllib.request.urlopen(f"{url}/_emulator", timeout=30) as answer:
        store = json.load(answer)["environment"]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "emulator",
        "contexts": [{"name": "emulator", "context": {"cluster": "emulator", "user": "test"}}],
        "clusters": [{"name": "emulator", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": _TOKEN}}],
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(config)}}
    name = str(platform.get("connection") or "kubernetes_default")
    return Emulation(url, {**connection_variable(name, connection), **store}, process)


if __name__ == "__main__":
    serve(Kubernetes)
