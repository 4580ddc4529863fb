"""Trainings in environments of their own, made of requirements files; the packages are wheels made here."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.platforms.test_local_jobs import a_job
from tidemill.platforms.local import environments
from tidemill.platforms.local.environments import environment_of
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.platforms.ports import JobError

TRAIN = """
    import importlib.util, os, sys
    import tides
    def train(context):
        seen = [name for name in ("numpy", "airflow", "pydantic", "yaml") if importlib.util.find_spec(name)]
        return [tides.VERSION, seen, sys.prefix, context.seed, hash("a")]
"""


def wheel(folder: Path, version: str = "1.0") -> Path:
    """A package of one module, ``tides``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"tides-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("tides.py", f"VERSION = {version!r}\n")
        info = f"tides-{version}.dist-info"
        packed.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tides\nVersion: {version}\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", f"tides.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "include").mkdir(parents=True)
    (root / "include" / "mine.py").write_text(textwrap.dedent(TRAIN))
    (root / "include" / "requirements.txt").write_text(f"tides @ {wheel(tmp_path / 'wheels').as_uri()}\n")
    return root


def run(root: Path, lines: list[str], **changes: Any) -> Any:
    job = a_job(root, "include.mine:train", **{"requirements": root / "include" / "requirements.txt", **changes})
    shutil.rmtree(root / "work", ignore_errors=True)
    return pickle.loads(LocalJobs(root / ".tidemill").run(job, lines.append).model.read_bytes())


def made(lines: list[str]) -> int:
    return sum("making the environment" in line for line in lines)


def test_a_training_sees_what_its_file_lists_and_nothing_else(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What the caller can import must not be there: neither its own libraries nor what its PYTHONPATH holds.
    (tmp_path / "leak" / "numpy").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "leak"))
    lines: list[str] = []
    version, seen, prefix, seed, hashed = run(project, lines)
    assert (version, seen, seed) == ("1.0", [], 7)
    assert prefix.startswith(str(project / ".tidemill" / "environments"))
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    here = subprocess.run([sys.executable, "-c", "print(hash('a'))"], env=env, capture_output=True, text=True)
    assert hashed == int(here.stdout)
    assert made(lines) == 1
    # A second time it is there already; another content is another environment.
    assert run(project, lines)[2] == prefix
    assert made(lines) == 1
    (project / "include" / "requirements.txt").write_text(f"tides @ {wheel(tmp_path / 'wheels', '2.0').as_uri()}\n")
    assert run(project, lines)[0] == "2.0"
    assert made(lines) == 2


def test_a_file_that_is_included_counts(project: Path, tmp_path: Path) -> None:
    listed = project / "include" / "requirements.txt"
    (project / "include" / "base.txt").write_text(listed.read_text())
    listed.write_text("-r base.txt\n")
    lines: list[str] = []
    assert run(project, lines)[0] == "1.0"
    (project / "include" / "base.txt").write_text(f"tides @ {wheel(tmp_path / 'wheels', '2.0').as_uri()}\n")
    assert run(project, lines)[0] == "2.0"


def test_a_half_made_environment_is_made_anew(project: Path) -> None:
    lines: list[str] = []
    folder = Path(run(project, lines)[2])
    (folder / "tidemill-complete").unlink()
    shutil.rmtree(next(folder.glob("lib/python3*")) / "site-packages")
    assert run(project, lines)[0] == "1.0"
    assert made(lines) == 2
    # So is one whose interpreter has gone.
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/no/such/python")
    assert run(project, lines)[0] == "1.0"


def _make_it(project: Path, lines: Any) -> None:
    environment_of(project / "include" / "requirements.txt", project / ".tidemill", dict(os.environ), lines.append)


def test_two_that_ask_at_once_make_it_once(project: Path) -> None:
    with multiprocessing.Manager() as manager:
        lines = manager.list()
        context = multiprocessing.get_context("fork")
        both = [context.Process(target=_make_it, args=(project, lines)) for _ in range(3)]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0, 0]
        assert made(list(lines)) == 1


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("tides @ file:///nowhere/tides-1.0-py3-none-any.whl\n", "nowhere"),
        ("tides ==== 1\n", "tides"),
        ("-r missing.txt\n", "missing.txt cannot be read"),
    ],
)
def test_what_cannot_be_installed_is_the_users_and_told_in_the_installers_words(
    project: Path, listed: str, said: str
) -> None:
    good = (project / "include" / "requirements.txt").read_text()
    (project / "include" / "requirements.txt").write_text(listed)
    with pytest.raises(JobError) as e:
        run(project, [])
    assert e.value.user
    assert str(e.value).startswith(f"train.requirements {project / 'include'}")
    assert said in str(e.value)
    (project / "include" / "requirements.txt").write_text(good)
    assert run(project, [])[0] == "1.0"


def test_a_network_that_is_down_is_not_the_users_mistake(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "include" / "requirements.txt").write_text("tides\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(JobError) as e:
        run(project, [])
    assert not e.value.user


def test_without_uv_it_is_venv_and_pip(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.shutil, "which", lambda *given, **named: None)
    lines: list[str] = []
    assert run(project, lines)[:2] == ["1.0", []]
    assert "with venv and pip" in lines[0]


def test_an_installer_whose_caller_is_killed_keeps_the_lock(project: Path, tmp_path: Path) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "uv").write_text("#!/bin/sh\necho $$ > " + str(tmp_path / "pid") + "\nexec sleep 60\n")
    (slow / "uv").chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from tidemill.platforms.local.environments import environment_of; "
        "environment_of(Path(sys.argv[1]), Path(sys.argv[2]), dict(os.environ), print)"
    )
    given = [str(project / "include" / "requirements.txt"), str(project / ".tidemill")]
    path = {"PATH": f"{slow}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    caller = subprocess.Popen([sys.executable, "-c", code, *given], env={**os.environ, **path})
    try:
        end = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    installer = int((tmp_path / "pid").read_text())
    lines: list[str] = []
    context = multiprocessing.get_context("fork")
    try:
        second = context.Process(target=_make_it, args=(project, lines))
        second.start()
        second.join(1.5)
        assert second.is_alive(), "two installers at work in one folder"
    finally:
        os.kill(installer, signal.SIGKILL)
    second.join(60)
    assert second.exitcode == 0
    assert run(project, lines)[0] == "1.0"
