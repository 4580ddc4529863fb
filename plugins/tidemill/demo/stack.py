"""A local Airflow with an MLflow server: started, found again, mended, stopped.

The servers are processes of their own, not children of one: Airflow's `standalone` adds a process and ends less
cleanly. What runs is noted with births in ``<state>/stack/servers.json``; a note that is stale harms nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tidemill.cli.local_stack import LocalStack, servers_file, write_private
from tidemill.demo import processes
from tidemill.demo.processes import Server
from tidemill.demo.settings import environment, password
from tidemill.errors import TidemillError
from tidemill.project import Project, sqlite_url

AIRFLOW_PORT, MLFLOW_PORT = 8080, 5000
MLFLOW = "mlflow"
AIRFLOW = ("api-server", "dag-processor", "triggerer", "scheduler")
_ARGUMENTS = {"scheduler": ("--skip-serve-logs",), "triggerer": ("--skip-serve-logs",)}
"""Logs are files of this machine; serving them would take a port that another Airflow may have."""
Say = Callable[[str], None]


class StackError(TidemillError):
    """The stack cannot be started or stopped, with what to do about it."""


@dataclass(frozen=True)
class Up:
    """A running stack. ``started``: the servers that this call had to start; ``seconds`` what it took."""

    address: LocalStack
    started: tuple[str, ...]
    seconds: float


class Stack:
    """The local stack of a project. ``reparse``: seconds after which Airflow reads a DAG file again.

    ``ports``: the ports of Airflow and MLflow, tried first; other free ones are taken and remembered if need be.
    """

    def __init__(
        self,
        project: Project,
        *,
        ports: tuple[int, int] = (AIRFLOW_PORT, MLFLOW_PORT),
        reparse: float = 10,
        say: Say = lambda _: None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.project = project
        self._ports = ports
        self._reparse = reparse
        self._say = say
        self._extra = dict(extra or {})
        self._folder = project.state / "stack"
        self._noted = servers_file(project.state)

    def log(self, name: str) -> Path:
        """The log of one server."""
        return self._folder / "logs" / f"{name}.log"

    def servers(self) -> dict[str, Server]:
        """The servers of this stack that are running."""
        try:
            noted = json.loads(self._noted.read_text(encoding="utf-8"))
            found = [Server(**value) for value in noted["servers"]]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {server.name: server for server in found if server.is_alive()}

    def up(self, *, timeout: float = 120) -> Up:
        """Start what does not run yet, and return when everything answers.

        A start that fails or is interrupted stops again what it started.

        Raises:
            StackError: a server ended or did not answer in time (with the end of its log), or another start or
                stop goes on for longer than ``timeout``.
        """
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone(timeout):
            running = self.servers()
            self._tell_of_the_dead(running)
            address = self._address(running)
            missing = [name for name in (MLFLOW, *AIRFLOW) if name not in running]
            if missing:
                self._say(f"starting {', '.join(missing)}")
            fresh: list[Server] = []
            now = datetime.now(UTC)
            try:
                self._start(missing, address, running, fresh, began + timeout)
                states = partial(_states, address, dict.fromkeys(missing, now))
                self._wait(states, {**running, **{s.name: s for s in fresh}}, began + timeout)
            except BaseException:
                processes.stop(fresh, grace=8)
                self._note(list(running.values()))
                raise
        return Up(address, tuple(missing), time.monotonic() - began)

    def down(self, *, timeout: float = 60) -> tuple[str, ...]:
        """End all servers with what they started; the names of those that ran.

        Raises:
            StackError: another start or stop goes on for longer than ``timeout``.
        """
        if not self._folder.is_dir():
            return ()
        with self._alone(timeout):
            noted = self._everything_noted()
            running = tuple(server.name for server in noted if server.is_alive())
            pids = {server.name: server.pid for server in noted}
            killed = processes.stop(noted)
            if killed:
                names = ", ".join(sorted(name for name, pid in pids.items() if pid in killed)) or "a task under way"
                self._say(f"{names}: did not end when asked, so it was killed")
            self._noted.unlink(missing_ok=True)
        return running

    @contextmanager
    def _alone(self, timeout: float) -> Iterator[None]:
        """Hold the stack's lock, so that no two starts or stops go on at once. It ends with its holder."""
        with (self._folder / "lock").open("a+") as lock:
            end, told = time.monotonic() + timeout, False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    lock.seek(0)
                    who = lock.read().strip() or "unknown"
                    if time.monotonic() > end:
                        text = f"process {who} has been starting or stopping this stack for {timeout:.0f} s: end it"
                        raise StackError(f"{text} (kill {who}) or wait, then try again.") from None
                    if not told:
                        self._say(f"process {who} is starting or stopping this stack; waiting for it")
                        told = True
                    time.sleep(0.2)
            lock.seek(0)
            lock.truncate()
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def _tell_of_the_dead(self, running: dict[str, Server]) -> None:
        """Say what ended by itself since the last start, and end what it left behind."""
        dead = [server for server in self._everything_noted() if server.name not in running]
        if running:
            for server in dead:
                self._say(
                    f"{server.name} has ended by itself; its log ({self.log(server.name)}) ends so:\n"
                    f"{processes.last_lines(self.log(server.name), 8)}"
                )
        elif dead:
            self._say("the servers that ran here last are gone; starting them again on the same state")
        if dead:
            processes.stop(dead, grace=5)

    def _everything_noted(self) -> list[Server]:
        try:
            noted = json.loads(self._noted.read_text(encoding="utf-8"))
            return [Server(**value) for value in noted["servers"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            self._say(f"{self._noted} cannot be read and is ignored")
            return []

    def _note(self, servers: list[Server]) -> None:
        write_private(self._noted, json.dumps({"servers": [asdict(server) for server in servers]}, indent=2) + "\n")

    def _address(self, running: dict[str, Server]) -> LocalStack:
        """Where the servers are or will be: where they were, else the usual ports, else free ones."""
        before = LocalStack.read(self.project.state)
        secret = password(self.project.state)
        wanted = (_port(before.airflow), _port(before.mlflow)) if before else self._ports
        airflow = wanted[0] if running.keys() & set(AIRFLOW) else self._free(wanted[0], "Airflow", set())
        mlflow = wanted[1] if MLFLOW in running else self._free(wanted[1], "MLflow", {airflow})
        if "api-server" not in running and (found := running.keys() & set(AIRFLOW)) and not _is_free(airflow):
            # The others call the API server where they were told to: with its port lost, all start anew.
            processes.stop([running.pop(name) for name in found])
            airflow = self._free(airflow, "Airflow", {mlflow})
        if MLFLOW not in running and before and mlflow != wanted[1] and (found := running.keys() & set(AIRFLOW)):
            processes.stop([running.pop(name) for name in found])  # they were told where MLflow is, too
        address = LocalStack(f"http://127.0.0.1:{airflow}", f"http://127.0.0.1:{mlflow}", password=secret)
        address.note(self.project.state)
        return address

    def _free(self, wanted: int, what: str, taken: set[int]) -> int:
        if wanted and wanted not in taken and _is_free(wanted):
            return wanted
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if wanted:
            self._say(f"port {wanted} is taken by another program: {what} gets port {port}")
        return port

    def _start(
        self,
        missing: list[str],
        address: LocalStack,
        running: dict[str, Server],
        fresh: list[Server],
        deadline: float,
    ) -> None:
        shared = {**environment(self.project, address, reparse=self._reparse), **self._extra}
        again = (self.project.state / "airflow" / "migrated").exists()
        for name in missing:
            if name == "api-server":
                self._migrate(shared)  # while MLflow starts
            if name == "scheduler" and again:
                # It starts at once what was cut off when the servers were stopped, and a task that does not reach
                # the API server fails.
                servers = {**running, **{s.name: s for s in fresh}}
                self._wait(lambda: {"api-server": _states(address, {})["api-server"]}, servers, deadline)
            command = self._command(name, address)
            log = self.log(name)
            log.unlink(missing_ok=True)
            fresh.append(processes.start(name, command, shared, log, self.project.root))
            self._note([*running.values(), *fresh])

    def _command(self, name: str, address: LocalStack) -> list[str]:
        if name != MLFLOW:
            return [sys.executable, "-m", "airflow", name, *_ARGUMENTS.get(name, ())]
        folder = self.project.state / "mlflow"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        return [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(_port(address.mlflow))),
            *("--backend-store-uri", sqlite_url(folder / "mlflow.db"), "--workers", "1"),
            *("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")),
        ]

    def _migrate(self, shared: Mapping[str, str]) -> None:
        """Make or migrate Airflow's database, once for each version of Airflow."""
        from importlib.metadata import version

        home = self.project.state / "airflow"
        home.mkdir(parents=True, exist_ok=True)
        stamp, database, now = home / "migrated", home / "airflow.db", version("apache-airflow-core")
        if database.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == now:
            return
        log = self.log("migrate")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(
                command, env=dict(shared), cwd=self.project.root, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise StackError(f"Airflow's database could not be made; {log} ends so:\n{processes.last_lines(log)}")
        with sqlite3.connect(database) as connection:
            # Readers and a writer at once: five processes share the file.
            connection.execute("PRAGMA journal_mode=WAL")
        stamp.write_text(now, encoding="utf-8")

    def _wait(self, states: Callable[[], dict[str, str]], servers: dict[str, Server], deadline: float) -> None:
        """Wait until all that ``states`` names is healthy."""
        while waiting := {name: state for name, state in states().items() if state != "healthy"}:
            for name, server in servers.items():
                if not server.is_alive():
                    log = self.log(name)
                    raise StackError(f"{name} ended at once; its log ({log}) ends so:\n{processes.last_lines(log)}")
            if time.monotonic() > deadline:
                told = "\n".join(
                    f"  {name}: {state}; {self.log(name)} ends so:\n{processes.last_lines(self.log(name), 5)}"
                    for name, state in waiting.items()
                )
                raise StackError(f"these servers did not answer in time:\n{told}")
            time.sleep(0.2)


_HEALTH = {"dag-processor": "dag_processor", "triggerer": "triggerer", "scheduler": "scheduler"}
"""What Airflow's health report calls its components."""


def _states(address: LocalStack, fresh: Mapping[str, datetime]) -> dict[str, str]:
    """What each server says of itself; ``healthy`` is what all should say.

    ``fresh``: since when what was started anew must have given a sign of life; Airflow counts for a while those of
    its predecessor, too.
    """
    import httpx

    states = {MLFLOW: "no answer", **dict.fromkeys(AIRFLOW, "no answer")}
    with httpx.Client(trust_env=False, timeout=5) as client:
        with suppress(httpx.HTTPError):
            states[MLFLOW] = "healthy" if client.get(f"{address.mlflow}/health").is_success else "not healthy"
        try:
            answer = client.get(f"{address.airflow}/api/v2/monitor/health")
            health = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            return states
    states["api-server"] = str((health.get("metadatabase") or {}).get("status") or "not healthy")
    for name, key in _HEALTH.items():
        part = health.get(key) or {}
        seen = part.get(f"latest_{key}_heartbeat")
        early = name in fresh and (not seen or datetime.fromisoformat(seen) < fresh[name])
        states[name] = "not started yet" if early else str(part.get("status") or "not started yet")
    return states


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
