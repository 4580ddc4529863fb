"""The corpus of attacks, in its short form and whole; ``python -m tests.specs.attacks`` prints the same count."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

attacks = importlib.import_module("tests.specs.attacks.__main__")


def test_no_attack_of_the_short_form_escapes() -> None:
    told: list[str] = []
    assert attacks.run(attacks.corpus(short=True), told.append) == {}
    assert "0 escapes" in told[-1]


@pytest.mark.slow
def test_no_attack_escapes() -> None:
    assert attacks.run(attacks.corpus(), print) == {}


def test_every_stored_attack_has_its_answer() -> None:
    stored = list(attacks.stored())
    assert len(stored) > 100
    assert [attack.name for attack in stored if not attack.text] == []
    assert len(list(attacks.HERE.glob("*.txt"))) == len(stored)


def test_what_escapes_is_seen(tmp_path: Path) -> None:
    world = attacks.World(tmp_path)
    sound = attacks.Attack("sound", f"tidemill: 1\nsteps: {{a: {attacks._STEP}}}\n".encode())
    assert attacks.escaped(sound, world.tried(sound)) == "it was accepted"

    def reads_outside(root: Path, outside: Path) -> Path:
        (root / "dags" / "x.yaml").symlink_to(outside / "linked.py")
        (outside / "linked.py").chmod(0o644)
        return root / "dags" / "x.yaml"

    link = attacks.Attack("link", make=reads_outside, says="no such words")
    assert "another reason" in str(attacks.escaped(link, world.tried(link)))
    told = {"seen": ["import include.canary"], "seconds": 0, "megabytes": 0, "plans": 0, "errors": []}
    assert "it ran" in str(attacks.escaped(sound, told))
