"""Where the local Airflow and MLflow of a project are: what `python -m tidemill.demo up` notes, and who reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

USER = "admin"


@dataclass(frozen=True)
class LocalStack:
    """The addresses of a project's local stack, and who may log in.

    The address stays noted when the stack is down, so that its next start takes the same ports again.
    """

    airflow: str
    mlflow: str
    user: str = USER
    password: str = field(default="", repr=False)

    @classmethod
    def read(cls, state: Path) -> LocalStack | None:
        """What is noted in a state folder; ``None`` if there never was a stack."""
        try:
            noted = json.loads(address_file(state).read_text(encoding="utf-8"))
            passwords = json.loads(password_file(state).read_text(encoding="utf-8"))
            return cls(airflow=noted["airflow"], mlflow=noted["mlflow"], user=USER, password=passwords[USER])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @staticmethod
    def mlflow_up(state: Path) -> str | None:
        """The address of the stack's MLflow while that server runs. Without it the port may be another program's."""
        try:
            servers = json.loads(servers_file(state).read_text(encoding="utf-8"))["servers"]
            ours = next(server for server in servers if server["name"] == "mlflow")
            if birth_of(ours["pid"]) == ours["birth"]:
                return str(json.loads(address_file(state).read_text(encoding="utf-8"))["mlflow"])
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            pass
        return None

    def note(self, state: Path) -> None:
        """Keep the addresses; the password has a file of its own, which Airflow reads too."""
        value = {k: v for k, v in asdict(self).items() if k in {"airflow", "mlflow"}}
        write_private(address_file(state), json.dumps(value, indent=2) + "\n")


def address_file(state: Path) -> Path:
    """The file of the addresses."""
    return state / "stack" / "address.json"


def servers_file(state: Path) -> Path:
    """The file that names the servers that were started: each by its name, its process and that one's birth."""
    return state / "stack" / "servers.json"


def password_file(state: Path) -> Path:
    """The file that Airflow's SimpleAuthManager keeps its passwords in."""
    return state / "stack" / "passwords.json"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one go: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def birth_of(pid: int) -> str | None:
    """What tells a process from a later one of the same id; ``None`` if it does not run (any more)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if os.path.isdir("/proc/self") else _birth_elsewhere(pid)
    except (OSError, ProcessLookupError):
        return None
    # proc(5): the state is field 3, the start in clock ticks since boot field 22; unlike a time of day it does
    # not move when the clock is set.
    return None if fields[0] in "ZX" else f"{boot()}/{fields[19]}"


def boot() -> str:
    """What tells this run of the machine from an earlier one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "boot"


def _birth_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return None if ended else f"{boot()}/{process.create_time():.2f}"
    except psutil.Error:
        return None
