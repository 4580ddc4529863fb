"""Credentials and the ledger's address, from Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidemill.platforms.ports import Cloud, Connection, Connections, PlatformError
from tidemill.project import Project, sqlite_url

if TYPE_CHECKING:
    from tidemill.ledger import Ledger

LEDGER = "tidemill_ledger"
_LIBPQ_OPTIONS = frozenset({"sslmode", "sslrootcert", "connect_timeout"})


class AirflowConnections:
    """The ``Connections`` port over Airflow's: environment, secrets backends, then the API."""

    def get(self, conn_id: str) -> Connection | None:
        """The connection of that id; ``None`` if there is none."""
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            return None
        return Connection(
            conn_id=conn_id,
            conn_type=found.conn_type or "",
            host=found.host,
            login=found.login,
            password=found.password,
            schema=found.schema,
            port=found.port,
            extra=found.extra_dejson,
        )

    def credentials(self, cloud: Cloud, conn_id: str) -> Any:
        """What signs the calls to a cloud, as the port says.

        Raises:
            PlatformError: there is no such connection, its provider is not installed, or nothing can be made of it.
        """
        from importlib import import_module

        if self.get(conn_id) is None:
            raise PlatformError(
                f"there is no Airflow connection {conn_id!r}; add it, or name another one in platform.connection "
                f"(docs/platforms/{cloud}.md)",
                fault="user",
            )
        try:
            return import_module(f"tidemill.airflow.credentials.{cloud}").open(conn_id)
        except ImportError as error:
            raise PlatformError(
                f"the libraries of {cloud} are not installed ({error.name or error}): pip install 'tidemill[{cloud}]'",
                fault="user",
            ) from error
        except PlatformError:
            raise
        except Exception as error:  # what a provider's hook raises depends on the provider
            raise PlatformError(f"the connection {conn_id!r} cannot be used: {error}", fault="user") from error


def ledger_opener(connections: Connections, project: Project) -> Callable[[], Ledger]:
    """How a task opens the ledger: by the connection, else SQLite in the state folder if every task runs here."""

    def open_it() -> Ledger:
        from tidemill.ledger import open_ledger

        return open_ledger(ledger_url(connections, project))

    return open_it


def ledger_url(connections: Connections, project: Project) -> str:
    """The SQLAlchemy URL of the ledger.

    Raises:
        StepError: there is no connection, and the executor runs tasks on several machines: each would have a
            ledger, and so a champion, of its own.
    """
    from tidemill.steps.context import StepError

    connection = connections.get(LEDGER)
    if connection is not None:
        return url_of(connection)
    from airflow.configuration import conf

    executors = [name.strip().rpartition(":")[2] for name in conf.get("core", "executor").split(",")]
    if any(name not in {"LocalExecutor", "airflow.executors.local_executor.LocalExecutor"} for name in executors):
        raise StepError(
            f"no ledger: with {', '.join(executors)} tasks run on several machines, and each would have a champion of "
            f"its own. Add an Airflow connection {LEDGER!r} (type postgres) for a database of Tidemill's own."
        )
    return sqlite_url(project.state / "ledger.db")


def url_of(connection: Connection) -> str:
    """The SQLAlchemy URL of a connection. Airflow's own ``get_uri`` gives schemes that SQLAlchemy refuses.

    Raises:
        StepError: the connection's type is neither ``postgres`` nor ``sqlite``.
    """
    from sqlalchemy import URL

    from tidemill.steps.context import StepError

    if connection.conn_type == "sqlite":
        return sqlite_url(connection.host or connection.schema or "")
    if connection.conn_type not in {"postgres", "postgresql"}:
        raise StepError(
            f"the connection {connection.conn_id!r} is of type {connection.conn_type!r}; "
            "the ledger needs postgres or sqlite"
        )
    return URL.create(
        "postgresql+psycopg",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query={k: str(v) for k, v in connection.extra.items() if k in _LIBPQ_OPTIONS},
    ).render_as_string(hide_password=False)
