"""What the tests of commands share."""

from __future__ import annotations

import pytest

from tests.command_line import CommandLine


@pytest.fixture
def tidemill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line."""
    return CommandLine(monkeypatch, capsys)
