"""A small client of Airflow's public REST API (v2): what moving a live Airflow through time needs, and clear errors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tidemill.cli.local_stack import LocalStack
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    import httpx

URL, USER, PASSWORD = "TIDEMILL_AIRFLOW_URL", "TIDEMILL_AIRFLOW_USER", "TIDEMILL_AIRFLOW_PASSWORD"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_FRAME = (
    "::group::",
    "::endgroup::",
    "DAG bundles loaded",
    "Filling up the DagBag",
    "Worker startup parse complete",
    "Pushing xcom",
    "Task finished",
    "Task failed with exception",
)
"""How the lines begin with which Airflow frames every task's log."""


class ApiError(TidemillError):
    """Airflow's API did not do what was asked. The message says what to do about it."""


class Unreachable(ApiError):
    """Nothing answers at the address, or not in time."""


class Denied(ApiError):
    """The login is wrong, or may not do this."""


class NotFound(ApiError):
    """There is no such thing in this Airflow."""


class Conflict(ApiError):
    """It is there already, or was done already."""


def connect(
    state: Path | None = None, *, url: str | None = None, user: str | None = None, password: str | None = None
) -> AirflowApi:
    """The Airflow that is meant: by argument, else by ``TIDEMILL_AIRFLOW_…``, else the local stack of ``state``.

    Raises:
        ApiError: none is named, or its login is missing.
    """
    local = LocalStack.read(state) if state else None
    address = url or os.environ.get(URL) or (local.airflow if local else None)
    if address is None:
        raise ApiError(
            f"Which Airflow? Start the local one with `make run`, or name one with {URL} "
            f"(and its login with {USER} and {PASSWORD})."
        )
    ours = local if local and address.rstrip("/") == local.airflow else None
    name = user or os.environ.get(USER) or (ours.user if ours else None)
    secret = password or os.environ.get(PASSWORD) or (ours.password if ours else None)
    if name is None or secret is None:
        raise ApiError(f"The login for {address} is missing: set {USER} and {PASSWORD}.")
    return AirflowApi(address, name, secret)


class AirflowApi:
    """Airflow at one address, logged in as one user.

    ``patience``: for how many seconds a server that does not answer is asked again. Whatever is sent may be sent
    twice: runs are created under ids of their own, so a repetition finds the first.
    """

    def __init__(self, url: str, user: str, password: str, *, patience: float = 20) -> None:
        self.url = url.rstrip("/")
        self._user, self._password, self._patience = user, password, patience
        self._token: str | None = None
        self._kept: httpx.Client | None = None

    def close(self) -> None:
        """Release the connection; harmless to repeat."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def health(self) -> Mapping[str, str]:
        """What each component says of itself: ``healthy``, ``unhealthy`` or nothing at all."""
        found = self._call("GET", "/api/v2/monitor/health", login=False)
        return {name: str((part or {}).get("status") or "") for name, part in found.items()}

    def dag(self, dag_id: str) -> dict[str, Any]:
        """A DAG with its details. Raises NotFound."""
        found: dict[str, Any] = self._call("GET", f"/api/v2/dags/{_q(dag_id)}/details")
        return found

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pause a DAG, or let it run again."""
        self._call("PATCH", f"/api/v2/dags/{_q(dag_id)}", json={"is_paused": paused})

    def import_errors(self) -> dict[str, str]:
        """Text of each import error, by file name."""
        found = self._call("GET", "/api/v2/importErrors", params={"limit": 100})
        return {e["filename"]: e["stack_trace"] for e in found["import_errors"]}

    def start(
        self, dag_id: str, run_id: str | None, conf: Mapping[str, Any], note: str | None = None
    ) -> dict[str, Any]:
        """Start a run. Raises Conflict if there is a run of that id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf), "note": note}
        started: dict[str, Any] = self._call("POST", f"/api/v2/dags/{_q(dag_id)}/dagRuns", json=body)
        return started

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A run. Raises NotFound."""
        found: dict[str, Any] = self._call("GET", _run(dag_id, run_id))
        return found

    def runs(self, dag_id: str, *, states: Iterable[str] = ()) -> list[dict[str, Any]]:
        """The last hundred runs of a DAG, the newest first; in any or in some states."""
        params = {"limit": 100, "order_by": "-run_after", "state": list(states)}
        found: list[dict[str, Any]] = self._call("GET", f"/api/v2/dags/{_q(dag_id)}/dagRuns", params=params)["dag_runs"]
        return found

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """Let the failed tasks of a run, and those after them, run again."""
        self._call("POST", f"{_run(dag_id, run_id)}/clear", json={"dry_run": False, "only_failed": True})

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        found = self._call("GET", f"{_run(dag_id, run_id)}/taskInstances", params={"limit": 100})
        tasks: list[dict[str, Any]] = found["task_instances"]
        return tasks

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[str]:
        """What one try of a task said, line by line: an exception without its stack, Airflow's frame left out."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/logs/{try_number}"
        content = self._call("GET", path, params={"map_index": -1, "full_content": True})["content"]
        return [line for entry in content for line in _told(entry)]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task handed on. Raises NotFound."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/xcomEntries/{_q(key)}"
        return self._call("GET", path, params={"deserialize": False})["value"]

    def events_of(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The asset events that a run emitted, each with the runs it had part in (``created_dagruns``)."""
        params = {"source_dag_id": dag_id, "source_run_id": run_id, "limit": 100}
        found: list[dict[str, Any]] = self._call("GET", "/api/v2/assets/events", params=params)["asset_events"]
        return found

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task that waits for a person. Raises Conflict if it was answered before."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/-1/hitlDetails"
        self._call("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def link(self, dag_id: str, run_id: str | None = None, task_id: str | None = None) -> str:
        """Where a DAG, a run or a task is seen in Airflow's pages."""
        parts = [
            f"/dags/{_q(dag_id)}",
            f"/runs/{_q(run_id)}" if run_id else "",
            f"/tasks/{_q(task_id)}" if task_id else "",
        ]
        return self.url + "".join(parts)

    def _client(self) -> httpx.Client:
        if self._kept is None:
            import httpx

            # A proxy is for other machines; not every NO_PROXY names this one.
            trust = urlsplit(self.url).hostname not in _LOOPBACK
            self._kept = httpx.Client(base_url=self.url, timeout=httpx.Timeout(30, connect=5), trust_env=trust)
        return self._kept

    def _call(self, method: str, path: str, *, login: bool = True, **request: Any) -> Any:
        """Send a request, log in where needed, ask again while the server is not there."""
        end, problem = time.monotonic() + self._patience, ""
        while True:
            response, problem = self._send(method, path, login, request)
            if response is not None and response.status_code < 500:
                break
            if time.monotonic() > end:
                raise Unreachable(f"{problem}. Is it running? The local one is started with `make run`.")
            time.sleep(0.5)
        if response.status_code in {401, 403}:
            raise Denied(
                f"{self.url} does not let {self._user!r} do this ({method} {path}: {response.status_code}). "
                f"Check {USER} and {PASSWORD}."
            )
        if response.status_code == 404:
            raise NotFound(_detail(response))
        if response.status_code == 409:
            raise Conflict(_detail(response))
        if not response.is_success:
            raise ApiError(f"{self.url} refused {method} {path}: {response.status_code}, {_detail(response)}")
        try:
            return response.json() if response.content else None
        except ValueError:
            raise ApiError(f"{self.url} is no Airflow with a REST API v2: {path} answers no JSON.") from None

    def _send(
        self, method: str, path: str, login: bool, request: Mapping[str, Any]
    ) -> tuple[httpx.Response | None, str]:
        """One attempt, twice if the login has run out; without an answer, why."""
        import httpx

        try:
            response = self._request(method, path, login, request)
            if response.status_code == 401 and login:
                self._token = None  # it has run out, or the server was set up anew
                response = self._request(method, path, login, request)
        except httpx.HTTPError as error:
            return None, f"Airflow at {self.url} does not answer ({type(error).__name__}: {error})"
        return response, f"Airflow at {self.url} answers {response.status_code} to {method} {path}"

    def _request(self, method: str, path: str, login: bool, request: Mapping[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._login()}"} if login else {}
        return self._client().request(method, path, headers=headers, **request)

    def _login(self) -> str:
        if self._token is None:
            body = {"username": self._user, "password": self._password}
            response = self._client().post("/auth/token", json=body)
            if response.status_code in {400, 401, 403}:
                text = f"{self.url} does not accept the login of {self._user!r}. Check {USER} and {PASSWORD}."
                raise Denied(text)
            if response.status_code == 404:
                raise ApiError(f"{self.url} is no Airflow 3 whose API gives tokens to a name and a password.")
            response.raise_for_status()
            self._token = str(response.json()["access_token"])
        return self._token


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{_q(dag_id)}/dagRuns/{_q(run_id)}"


def _told(entry: Any) -> list[str]:
    """One log entry as lines; entries are objects with ``event``, or plain text."""
    if not isinstance(entry, dict):
        return str(entry).splitlines()
    lines = str(entry.get("event", "")).splitlines()
    for error in entry.get("error_detail") or ():
        lines += f"{error.get('exc_type', 'Error')}: {error.get('exc_value', '')}".splitlines()
    return [line for line in lines if line.strip() and not line.startswith(_FRAME)]


def _q(part: str) -> str:
    return quote(part, safe="")


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text[:300] or f"{response.status_code}"
    return detail if isinstance(detail, str) else str(detail)[:500]
