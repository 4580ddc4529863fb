"""The example of the documentation is what the conversion makes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.convert.conftest import Convert

DOCUMENT = Path(__file__).parents[2] / "docs" / "migration.md"


def test_the_example_is_converted_as_it_is_shown(converted: Convert) -> None:
    before, after = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.S)
    (made,), notes = converted(before)
    assert (notes, made.notes, made.errors, made.dag_id) == ([], (), (), "unload_ships")
    assert made.text.partition("\n")[2] == after
