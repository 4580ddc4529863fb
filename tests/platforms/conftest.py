"""What the modules of AWS's tests have in common; those of other clouds have an emulation of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulators import Emulation
from tests.platforms import aws_emulated
from tidemill.platforms.cloud import Cloud


@pytest.fixture
def emulation() -> Iterator[Emulation]:
    """AWS's emulator, which misbehaves for one test only."""
    yield aws_emulated.running()
    aws_emulated.running().set_faults()


@pytest.fixture
def cloud(emulation: Emulation, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Cloud:
    """The ports of the service that the module names as ``SERVICE``."""
    return aws_emulated.opened(monkeypatch, emulation, request.module.SERVICE)
