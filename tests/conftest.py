"""For all tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests with real servers first: they take minutes in one process, while the others fill the rest."""
    items.sort(key=lambda item: item.get_closest_marker("live") is None)
