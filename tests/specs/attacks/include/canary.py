"""Shows that it was imported, or called: nothing of this may ever run."""

import os
from os import system
from pathlib import Path

Path("canary").write_text("imported")
__all__ = ["Canary", "os", "run", "system", "train"]


class Canary:
    """An object that shows that it was made."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        Path("canary").write_text("made")


def run(x: object = None) -> None:
    """Shows that it was called."""
    Path("canary").write_text("called")


def train(context: object) -> None:
    """Shows that it was called."""
    Path("canary").write_text("trained")
