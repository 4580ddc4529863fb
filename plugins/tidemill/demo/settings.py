"""The environment that the servers of a local stack share: Airflow's settings, each for a reason beside it."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from tidemill.cli.local_stack import USER, LocalStack, password_file, write_private
from tidemill.project import Project

_NOT_INHERITED = ("AIRFLOW__", "_AIRFLOW_", "MLFLOW_", "TIDEMILL_")
"""Settings of another Airflow or MLflow in the caller's shell; connections and variables are taken over."""


def environment(project: Project, stack: LocalStack, *, reparse: float) -> dict[str, str]:
    """What every server process is started with. ``reparse``: seconds after which a DAG file is read again."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    # Where bytecode may not be written, Airflow's processes start several times slower.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    home = project.state / "airflow"
    own = {
        "AIRFLOW_HOME": str(home),
        "TIDEMILL_ROOT": str(project.root),
        "TIDEMILL_STATE": str(project.state),
        "AIRFLOW_CONN_TIDEMILL_MLFLOW": stack.mlflow,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost"))),
        "PYTHONUNBUFFERED": "1",
        # Nothing leaves the machine.
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
        # Threads of a model that wait for each other sleep. By default they spin, and on a machine whose processors
        # are busy they steal the time of what they wait for: a fit of 2 s was measured to take 40 s.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        # A server for every user's jobs that nobody here submits.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    own["no_proxy"] = own["NO_PROXY"]
    return {**inherited, **own, **_airflow(project, stack, home, reparse)}


def _airflow(project: Project, stack: LocalStack, home: Path, reparse: float) -> dict[str, str]:
    keys = _secrets(project.state)
    settings: Mapping[str, Mapping[str, object]] = {
        "core": {
            "dags_folder": project.root / "dags",
            "plugins_folder": project.root / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 4,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            # A step whose process was killed, or whose server was away, is tried once more: each goes on where it was.
            # A mistake of the user's is not: its step says that trying again cannot help.
            "default_task_retries": 1,
            "default_task_retry_delay": 10,
            # An import error in the UI is the text of `tidemill validate`, and little before it.
            "dagbag_import_error_traceback_depth": 0,
            # With the default, 30 s, a spec that was edited twice would run with the tasks of its first edit.
            "min_serialized_dag_update_interval": 0,
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": password_file(project.state),
            "fernet_key": keys["fernet"],
            "execution_api_server_url": f"{stack.airflow}/execution/",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=30"},
        "api": {
            "host": "127.0.0.1",
            "port": stack.airflow.rpartition(":")[2],
            "base_url": stack.airflow,
            "workers": 1,
            "secret_key": keys["session"],
        },
        "api_auth": {"jwt_secret": keys["jwt"]},
        # The default, 1 s, is paid by every task of a pipeline: 10 s for eight tasks instead of 3 s.
        "scheduler": {"scheduler_idle_sleep_time": 0.1, "task_instance_heartbeat_timeout": 120},
        # A spec is found, new or changed, when its loader is read again: that costs 0.2 s of a processor each time.
        "dag_processor": {"refresh_interval": 5, "min_file_process_interval": reparse},
    }
    return {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, entries in settings.items()
        for key, value in entries.items()
    }


def password(state: Path) -> str:
    """The password of the local Airflow's user, made once."""
    try:
        return str(json.loads(password_file(state).read_text(encoding="utf-8"))[USER])
    except (OSError, ValueError, KeyError, TypeError):
        made = secrets.token_urlsafe(12)
        write_private(password_file(state), json.dumps({USER: made}))
        return made


def _secrets(state: Path) -> dict[str, str]:
    """Keys that all servers must share, made once: with others, logins and stored connections would be void."""
    file = state / "stack" / "secrets.json"
    try:
        kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return {name: kept[name] for name in ("fernet", "session", "jwt")}
    except (OSError, ValueError, KeyError, TypeError):
        made = {
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "session": secrets.token_urlsafe(24),
            "jwt": secrets.token_urlsafe(64),
        }
        write_private(file, json.dumps(made))
        return made
