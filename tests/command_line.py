"""The ``tidemill`` command in the process of the tests: by the function that the command calls, but quicker."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tidemill.cli import main as cli


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands in a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        for name in ("TIDEMILL_ROOT", "TIDEMILL_STATE", "AIRFLOW_HOME"):
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Said:
        """Run a command as it would be typed."""
        if cwd is not None:
            self.monkeypatch.chdir(cwd)
        self.monkeypatch.setattr(sys, "argv", ["tidemill", *map(str, arguments)])
        self.capsys.readouterr()
        chosen = os.environ.get("TIDEMILL_ENVIRONMENT")
        try:
            cli.main()
            code: Any = 0
        except SystemExit as e:
            code = e.code
        finally:
            if chosen is None:  # as when the process ends
                os.environ.pop("TIDEMILL_ENVIRONMENT", None)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(int(code or 0), out, err)
