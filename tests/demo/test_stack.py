"""What a stack decides before and around its servers; the servers themselves are started in tests/live."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidemill.cli.local_stack import LocalStack, password_file
from tidemill.demo.settings import environment, password
from tidemill.demo.stack import Stack, StackError
from tidemill.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "dags").mkdir()
    return Project(tmp_path, tmp_path / ".tidemill")


def taken() -> socket.socket:
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    return other


def test_a_port_that_another_program_has_is_told_and_another_one_remembered(project: Project) -> None:
    said: list[str] = []
    with taken() as other:
        port = other.getsockname()[1]
        address = Stack(project, ports=(port, 0), say=said.append)._address({})
    assert not address.airflow.endswith(f":{port}")
    assert said == [f"port {port} is taken by another program: Airflow gets port {address.airflow.rpartition(':')[2]}"]
    again = Stack(project, ports=(port, 0))._address({})
    assert (again.airflow, again.mlflow) == (address.airflow, address.mlflow)


def test_both_servers_never_get_one_port(project: Project) -> None:
    with taken() as other:
        port = other.getsockname()[1]
    address = Stack(project, ports=(port, port))._address({})
    assert address.airflow.endswith(f":{port}")
    assert address.mlflow != address.airflow


def test_the_password_is_made_once_and_only_its_owner_may_read_it(project: Project) -> None:
    first = password(project.state)
    assert password(project.state) == first
    assert len(first) >= 12
    assert stat.S_IMODE(password_file(project.state).stat().st_mode) == 0o600
    assert stat.S_IMODE((project.state / "stack").stat().st_mode) == 0o700


def test_all_servers_share_their_keys_from_start_to_start(project: Project) -> None:
    address = LocalStack("http://127.0.0.1:1", "http://127.0.0.1:2", password="x")
    first, second = (environment(project, address, reparse=5) for _ in range(2))
    for key in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY"):
        assert first[key] == second[key]
    assert stat.S_IMODE((project.state / "stack" / "secrets.json").stat().st_mode) == 0o600


def test_another_airflows_settings_in_the_shell_are_not_inherited_but_its_connections_are(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__SMTP__SMTP_HOST", "mail.example.org")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMILL_LEDGER", "postgres://u:p@host/db")
    shared = environment(project, LocalStack("http://127.0.0.1:1", "http://127.0.0.1:2"), reparse=5)
    assert shared["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert shared["AIRFLOW_HOME"] == str(project.state / "airflow")
    assert not {"AIRFLOW__SMTP__SMTP_HOST", "MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE"} & shared.keys()
    assert shared["AIRFLOW_CONN_TIDEMILL_LEDGER"] == "postgres://u:p@host/db"


def test_everything_listens_on_this_machine_only(project: Project) -> None:
    stack = Stack(project, ports=(0, 0))
    address = stack._address({})
    assert environment(project, address, reparse=5)["AIRFLOW__API__HOST"] == "127.0.0.1"
    command = stack._command("mlflow", address)
    assert command[command.index("--host") + 1] == "127.0.0.1"


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"servers": [{"name": "scheduler"}]}'])
def test_a_note_that_cannot_be_read_is_told_and_ignored(project: Project, text: str) -> None:
    said: list[str] = []
    stack = Stack(project, say=said.append)
    (project.state / "stack").mkdir(parents=True)
    (project.state / "stack" / "servers.json").write_text(text)
    assert stack.servers() == {}
    assert stack.down() == ()
    assert any("cannot be read and is ignored" in line for line in said)
    assert not (project.state / "stack" / "servers.json").exists()


def test_a_stale_note_names_nobody_and_harms_nobody(project: Project) -> None:
    (project.state / "stack").mkdir(parents=True)
    value = {"servers": [{"name": "scheduler", "pid": os.getpid(), "birth": "a boot long ago/42"}]}
    (project.state / "stack" / "servers.json").write_text(json.dumps(value))
    assert Stack(project).servers() == {}
    assert Stack(project).down() == ()


def test_nothing_is_made_by_stopping_what_never_was(project: Project) -> None:
    assert Stack(project).down() == ()
    assert not project.state.exists()


def test_a_second_start_waits_and_then_names_who_is_at_it(project: Project) -> None:
    folder = project.state / "stack"
    folder.mkdir(parents=True)
    hold = (
        "import fcntl, os, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); "
        "f.write(str(os.getpid())); f.flush(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-S", "-c", hold, str(folder / "lock")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said: list[str] = []
        began = time.monotonic()
        with pytest.raises(StackError, match=f"process {holder.pid} has been starting or stopping"):
            Stack(project, say=said.append).down(timeout=1)
        assert 1 <= time.monotonic() - began < 10
        assert said == [f"process {holder.pid} is starting or stopping this stack; waiting for it"]
    finally:
        holder.kill()
        holder.wait()
    assert Stack(project).down(timeout=1) == ()  # a lock ends with its holder


def test_what_is_noted_is_read_back_and_the_password_is_not_in_it(project: Project) -> None:
    secret = password(project.state)
    LocalStack("http://127.0.0.1:8080", "http://127.0.0.1:5000", password=secret).note(project.state)
    read = LocalStack.read(project.state)
    assert read == LocalStack("http://127.0.0.1:8080", "http://127.0.0.1:5000", "admin", secret)
    assert secret not in repr(read)
    assert secret not in (project.state / "stack" / "address.json").read_text()


def test_without_a_stack_nothing_is_read(tmp_path: Path) -> None:
    assert LocalStack.read(tmp_path) is None
