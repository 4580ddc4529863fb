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

    def note(self, state: Path) -> None:
        """Keep the addresses; the password has a file of its own, which Airflow reads too."""
        value = {k: v for k, v in asdict(self).items() if k in {"airflow", "mlflow"}}
        write_private(address_file(state), json.dumps(value, indent=2) + "\n")


def address_file(state: Path) -> Path:
    """The file of the addresses."""
    return state / "stack" / "address.json"


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
