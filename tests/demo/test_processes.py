"""Processes that are found again and ended, and only those."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.demo import processes
from tidemill.demo.processes import Server

SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(300)"]
PARENT = [
    sys.executable, "-S", "-c",
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(300)']); "
    "print('up', flush=True); time.sleep(300)",
]  # fmt: skip
DEAF = [
    sys.executable, "-S", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)",
]  # fmt: skip


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    processes.stop(servers, grace=0.1)


def start(started: list[Server], command: list[str], tmp_path: Path) -> Server:
    log = tmp_path / f"{len(started)}.log"
    server = processes.start("server", command, os.environ, log, tmp_path)
    started.append(server)
    wait_until(lambda: b"up" in log.read_bytes())
    return server


def wait_until(true: object) -> None:
    end = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_server_leads_a_session_of_its_own_and_is_found_again_by_id_and_birth(
    started: list[Server], tmp_path: Path
) -> None:
    server = start(started, SLEEP, tmp_path)
    assert os.getsid(server.pid) == server.pid
    assert Server(server.name, server.pid, server.birth).is_alive()


def test_a_later_process_of_the_same_id_is_another_one_and_is_left_alone(started: list[Server], tmp_path: Path) -> None:
    stranger = start(started, SLEEP, tmp_path)
    boot = stranger.birth.rpartition("/")[0]
    noted = Server("ours, long ago", stranger.pid, f"{boot}/1")
    assert not noted.is_alive()
    assert noted.family() == set()
    assert processes.stop([noted], grace=0.2) == set()
    assert stranger.is_alive()


def test_after_a_restart_of_the_machine_no_session_is_taken_for_ours(started: list[Server], tmp_path: Path) -> None:
    server = start(started, PARENT, tmp_path)
    assert Server("before the restart", server.pid, f"another boot/{server.birth.rpartition('/')[2]}").family() == set()


def test_stopping_ends_the_whole_tree(started: list[Server], tmp_path: Path) -> None:
    server = start(started, PARENT, tmp_path)
    family = server.family()
    assert len(family) == 2
    assert processes.stop([server], grace=5) == set()
    assert all(processes.birth_of(pid) is None for pid, _ in family)


def test_children_whose_parent_was_killed_are_still_found_and_ended(started: list[Server], tmp_path: Path) -> None:
    server = start(started, PARENT, tmp_path)
    (child,) = (pid for pid, _ in server.family() if pid != server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive())
    assert processes.birth_of(child) is not None
    processes.stop([server], grace=5)
    assert processes.birth_of(child) is None


def test_what_does_not_end_when_asked_is_killed_and_told(started: list[Server], tmp_path: Path) -> None:
    server = start(started, DEAF, tmp_path)
    assert processes.stop([server], grace=0.5) == {server.pid}
    assert not server.is_alive()


def test_a_child_that_ended_is_not_taken_for_alive_though_nobody_buried_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = processes.start("short", [sys.executable, "-S", "-c", "print('bye')"], os.environ, log, tmp_path)
    wait_until(lambda: not server.is_alive())
    assert processes.last_lines(log) == "    bye"


def test_the_end_of_a_missing_log_is_said_not_raised(tmp_path: Path) -> None:
    assert "no log" in processes.last_lines(tmp_path / "none.log")


def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.start("none", [str(tmp_path / "none")], os.environ, tmp_path / "log", tmp_path)


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    try:
        wait_until(lambda: processes.birth_of(child.pid) is None)
    finally:
        child.wait()
