"""A stand-in for Airflow's REST API at its boundary, HTTP: small, in memory, and able to misbehave on request.

A real Airflow is driven by tests/live; this one shows what a client does when the real one is slow, refuses, has
paused DAGs or failing tasks, without half a minute of waiting for each.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

USER, PASSWORD = "admin", "s3cret"
TASKS = ("as_of", "retrain", "data")


@dataclass
class Run:
    """A run: each time it is asked for it is one state further."""

    dag_id: str
    run_id: str
    conf: dict[str, Any]
    states: list[str]
    run_type: str = "manual"
    cleared: int = 0

    def body(self) -> dict[str, Any]:
        if len(self.states) > 1:
            self.states.pop(0)
        return {"dag_id": self.dag_id, "dag_run_id": self.run_id, "state": self.states[0], "duration": 1.5}


@dataclass
class AirflowDouble:
    """What this Airflow has, and how it behaves."""

    dags: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=lambda: dict.fromkeys(("scheduler", "dag_processor"), "healthy"))
    import_errors: dict[str, str] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(DAG, as_of) → the states of its run; else it succeeds."""
    causes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(DAG, as_of) → the DAG that its event starts."""
    deaf: bool = False
    """Events start nothing."""
    answers: list[int] = field(default_factory=list)
    """Status codes that the next requests get instead of an answer."""
    tokens: set[str] = field(default_factory=set)
    started: list[tuple[str, str]] = field(default_factory=list)
    logins: int = 0
    url: str = ""

    def state_of(self, run: Run) -> str:
        """The state that the run's tasks go by, without moving it on."""
        return run.states[0]

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        match [unquote(part) for part in path.strip("/").split("/")][2:]:
            case ["monitor", "health"]:
                return 200, {name: {"status": status} for name, status in self.health.items()}
            case ["importErrors"]:
                return 200, {
                    "import_errors": [{"filename": f, "stack_trace": t} for f, t in self.import_errors.items()]
                }
            case ["dags", dag_id, *_] if dag_id not in self.dags:
                return 404, {"detail": f"The Dag with ID: `{dag_id}` was not found"}
            case ["dags", dag_id, "details"]:
                return 200, self.dags[dag_id]
            case ["dags", dag_id, "dagRuns"] if method == "POST":
                return self._start(dag_id, body)
            case ["dags", dag_id, "dagRuns"]:
                found = [r for (d, _), r in self.runs.items() if d == dag_id and r.states[0] in query.get("state", [])]
                return 200, {"dag_runs": [{"dag_run_id": run.run_id, "state": run.states[0]} for run in found]}
            case ["dags", dag_id, "dagRuns", run_id, *rest]:
                run = self.runs.get((dag_id, run_id))
                return (404, {"detail": "no such run"}) if run is None else self._run(run, rest)
            case ["assets", "events"]:
                return 200, {"asset_events": self._events(query["source_dag_id"][0], query["source_run_id"][0])}
        return 404, {"detail": f"nothing at {path}"}

    def _start(self, dag_id: str, body: Any) -> tuple[int, Any]:
        key = dag_id, body["dag_run_id"]
        if key in self.runs:
            return 409, {"detail": "DAGRun already exists"}
        self.started.append((dag_id, body["conf"]["as_of"]))
        self.runs[key] = self._new(dag_id, body["dag_run_id"], body["conf"], "manual")
        return 200, self.runs[key].body()

    def _new(self, dag_id: str, run_id: str, conf: dict[str, Any], run_type: str) -> Run:
        states = self.outcomes.get((dag_id, conf["as_of"]), ["queued", "running", "success"])
        return Run(dag_id, run_id, conf, list(states), run_type)

    def _run(self, run: Run, rest: list[str]) -> tuple[int, Any]:
        match rest:
            case []:
                return 200, run.body()
            case ["taskInstances"]:
                return 200, {"task_instances": self._tasks(run)}
            case ["taskInstances", task_id, "logs", _]:
                detail = [{"exc_type": "AirflowFailException", "exc_value": f"{task_id} could not\nbecause of this"}]
                framed = [
                    {"event": "::group::Pre Execute"},
                    {"event": "reading"},
                    {"event": "gone", "error_detail": detail},
                ]
                return 200, {"content": framed}
            case ["clear"]:
                run.cleared += 1
                run.states = ["failed", "queued", "running", "success"]
                return 200, {}
        return 404, {"detail": "nothing here"}

    def _tasks(self, run: Run) -> list[dict[str, Any]]:
        first = {"queued": None, "awaiting": "awaiting_input"}.get(run.states[0], run.states[0])
        states = [first, *(["upstream_failed"] * 2 if first == "failed" else [None, None])]
        return [{"task_id": t, "state": s, "try_number": 1} for t, s in zip(TASKS, states, strict=True)]

    def _events(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        run = self.runs[dag_id, run_id]
        caused = self.causes.get((dag_id, run.conf["as_of"]))
        if caused is None:
            return []
        key = caused, f"asset_triggered__of__{run_id}"
        event: dict[str, Any] = {"name": f"{caused}.retrain", "created_dagruns": []}
        if not self.deaf:
            self.runs.setdefault(key, self._new(*key, run.conf, "asset_triggered"))
            event["created_dagruns"] = [{"dag_id": key[0], "run_id": key[1]}]
        return [event]


class _Handler(BaseHTTPRequestHandler):
    double: AirflowDouble

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        status, answer = self._answer(body)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: Any) -> tuple[int, Any]:
        double, parts = self.double, urlsplit(self.path)
        if double.answers:
            return double.answers.pop(0), "an answer made for this test"
        if parts.path == "/auth/token":
            if body != {"username": USER, "password": PASSWORD}:
                return 401, {"detail": "Invalid credentials"}
            double.logins += 1
            double.tokens.add(f"token-{double.logins}")
            return 201, {"access_token": f"token-{double.logins}"}
        if parts.path != "/api/v2/monitor/health":
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token not in double.tokens:
                return 401, {"detail": "Invalid JWT token"}
        return double.handle(self.command, parts.path, parse_qs(parts.query), body)

    do_GET = do_POST = do_PATCH = _do

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(double: AirflowDouble) -> Iterator[AirflowDouble]:
    """The double at an address of its own."""
    handler = type("Handler", (_Handler,), {"double": double, "protocol_version": "HTTP/1.1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
