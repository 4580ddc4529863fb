"""Calls to MLflow: their address and login, their limits in time, and their errors in words."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.platforms.ports import Connection
from tidemill.project import Project, sqlite_url
from tidemill.steps.context import StepError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CONNECTION = "tidemill_mlflow"
"""The Airflow connection of the MLflow server."""

ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
"""MLflow's codes for what is not there."""

_PASSING = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})

# Two tries of eight seconds and a pause: an answer of some kind within twenty seconds. MLflow's own defaults
# (seven retries of two minutes) hold a worker for a quarter of an hour.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Requirements are given; a lock file in the current folder is another project's, or none of the model's.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
# A server answers an upload when it has stored it, which for a large model takes its time.
_TRANSFER = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
_environment = threading.RLock()


class MlflowError(StepError):
    """MLflow could not be reached, or refused what was asked of it."""


class MlflowCalls:
    """One MLflow, by its address. Every call is bounded in time; a server that is down or slow raises
    ``MlflowError`` with ``retry`` set, naming the address.

    Args:
        uri: ``http(s)://…`` or ``sqlite:////…``.
        project: where the project's root and state are.
        connection: the login and password, for a server that asks for them.
    """

    def __init__(self, uri: str, project: Project, connection: Connection | None = None) -> None:
        self.uri = uri
        self.project = project
        self.connection = connection
        self._client: MlflowClient | None = None

    @property
    def is_server(self) -> bool:
        """Whether MLflow is a server, with pages of its own."""
        return self.uri.startswith("http")

    @property
    def artifacts(self) -> Path:
        """Where the local store keeps artifacts."""
        return self.project.state / "mlflow" / "artifacts"

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"MLflow at {self.uri}" + (f" (connection {CONNECTION})" if self.connection else "")

    @contextlib.contextmanager
    def calls(self, doing: str, what: str, *, transfer: bool = False) -> Iterator[MlflowClient]:
        """Calls to MLflow: with its settings in place for just so long, and its errors as ours.

        MLflow takes login and timeouts from environment variables; they are not left there, where a training
        process would inherit them.
        """
        settings = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_REGISTRY_URI": self.uri, **_SETTINGS}
        if transfer:
            settings |= _TRANSFER
        settings = {k: os.environ.get(k, v) if k in _SETTINGS else v for k, v in settings.items()}
        if self.connection is not None and self.connection.login:
            settings["MLFLOW_TRACKING_USERNAME"] = self.connection.login
            settings["MLFLOW_TRACKING_PASSWORD"] = self.connection.password or ""
        with _environment, _set(settings):
            try:
                yield self._connect()
            except StepError:
                raise
            except Exception as e:
                raise self._error(e, doing, what) from e

    def _connect(self) -> MlflowClient:
        if self._client is None:
            mlflow = _import()
            self._client = mlflow.tracking.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client

    def _error(self, error: Exception, doing: str, what: str) -> MlflowError:
        """An error of MLflow's, in words: who, what, and whether trying again may help."""
        said = " ".join(str(error).split())
        code = getattr(error, "error_code", None)
        start = f"{self.place}, {doing} ({what}): "
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or re.search(r"error code 40[13]\b", said):
            return MlflowError(f"{start}access was denied; check login and password of {CONNECTION}")
        if code in ABSENT:
            return MlflowError(f"{start}not found: {said:.300}")
        if _is_of_the_network(error, said):
            why = "it did not answer in time" if "timed out" in said else "it could not be reached"
            hint = "is the server running, and is the address right?"
            return MlflowError(f"{start}{why}; {hint} ({_cause(error)})", retry=True)
        retry = isinstance(error, OSError) or code in _PASSING
        return MlflowError(f"{start}{said:.500}", retry=retry)


def _is_of_the_network(error: Exception, said: str) -> bool:
    from requests import RequestException

    # MLflow wraps what requests raises in an error of its own, with the text alone.
    return isinstance(error, RequestException | ConnectionError | TimeoutError) or any(
        sign in said for sign in ("timed out", "Max retries exceeded", "Failed to connect", "Connection aborted")
    )


def local_store(project: Project) -> str:
    """The address of the store in the state folder, made if needed; processes that make it take turns."""
    folder = project.state / "mlflow"
    database = folder / "mlflow.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                _create(database, folder / "artifacts")
    except OSError as e:
        raise MlflowError(f"the MLflow store {database} cannot be made: {e}", retry=True) from e
    return sqlite_url(database)


def _create(database: Path, artifacts: Path) -> None:
    """Make the tables, in a file of another name first: one that exists is whole."""
    _import()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = database.with_suffix(".new")
    new.unlink(missing_ok=True)
    store = SqlAlchemyStore(sqlite_url(new), artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    os.replace(new, database)


def _import() -> Any:
    """MLflow, without telemetry and without its migrations' chatter in the task's log."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow
    import mlflow.tracking

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    # MLflow's own mappings, in MLflow's own store: nothing that the reader of a log could change.
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
    return mlflow


def address_of(connection: Connection) -> str:
    """``scheme://host:port/path`` of a connection; the host may be a whole address itself."""
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        raise MlflowError(f"the connection {connection.conn_id} has no host: give it MLflow's address")
    scheme, _, rest = host.rpartition("://")
    if not scheme:
        named = [s for s in (connection.schema, connection.conn_type) if s in ("http", "https")]
        scheme = named[0] if named else "http"
    if scheme not in ("http", "https"):
        raise MlflowError(f"the connection {connection.conn_id}: {host!r} is not an http or https address")
    name, slash, path = rest.partition("/")
    if connection.port and ":" not in name.rpartition("]")[2]:
        name = f"{name}:{connection.port}"
    return f"{scheme}://{name}{slash}{path}"


def _cause(error: BaseException) -> str:
    """The innermost reason, which says more than the layers around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@contextlib.contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Let an MLflow error of these codes pass."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as e:
        if e.error_code not in codes:
            raise


@contextlib.contextmanager
def _set(settings: Mapping[str, str]) -> Iterator[None]:
    before = {k: os.environ.get(k) for k in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
