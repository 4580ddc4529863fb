"""For all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests with real servers first: they take minutes in one process, while the others fill the rest."""
    items.sort(key=lambda item: item.get_closest_marker("live") is None)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of an S3 on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
