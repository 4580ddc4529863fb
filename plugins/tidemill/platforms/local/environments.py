"""Isolated environments for trainings: one for each content of a requirements file, made once and kept.

An environment holds what its file lists and nothing else. The folder ``environments`` in the project's state folder may
be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tidemill.locks import Taken, held
from tidemill.platforms.packing import runtime_files
from tidemill.platforms.ports import JobError

_COMPLETE: Final = "tidemill-complete"
_WAIT_SECONDS: Final = 0.5
_LAST_LINES: Final = 15
_LONGEST: Final = 600
_INCLUDED: Final = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)(?:\s+|=)(\S+)", re.MULTILINE)
_NETWORK: Final = re.compile(
    r"name resolution|resolve host|dns error|connection (?:refused|reset|error|timed)|timed? ?out|unreachable"
    r"|no space left",
    re.IGNORECASE,
)
_INDEX: Final = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}
"""pip's variables for where packages come from, and uv's names for them."""
_OWN: Final = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
"""Variables that would put something else into the environment, or it somewhere else."""


def environment_of(
    requirements: Path, state: Path, environment: Mapping[str, str], log: Callable[[str], None]
) -> dict[str, str]:
    """See to it that the environment of a requirements file is there: the variables to run in it. Its interpreter is
    ``bin/python`` in their ``VIRTUAL_ENV``. ``environment`` are the variables that it is made with.

    Raises:
        JobError: the file cannot be read, or what it lists cannot be installed.
    """
    base = state / "environments"
    given = {name: value for name, value in environment.items() if name not in _OWN}
    for pips, uvs in _INDEX.items():
        if pips in given:
            given.setdefault(uvs, given[pips])
    try:
        folder = base / _key(requirements)
        base.mkdir(parents=True, exist_ok=True)
        if not _is_whole(folder):
            with _alone(base / f"{folder.name}.lock", log) as lock:
                if not _is_whole(folder):
                    _make(folder, requirements, given, log, lock)
        runtime = _runtime(base)
    except OSError as e:
        raise JobError(f"train.requirements {requirements}: no environment could be made: {e}", user=False) from None
    given.update(
        VIRTUAL_ENV=str(folder),
        PATH=os.pathsep.join((str(folder / "bin"), given.get("PATH", os.defpath))),
        PYTHONPATH=str(runtime),
    )
    return given


def _is_whole(folder: Path) -> bool:
    # The interpreter is a link, which may point nowhere by now.
    return (folder / _COMPLETE).exists() and (folder / "bin" / "python").exists()


def _key(requirements: Path) -> str:
    """What an environment depends on: the file's bytes and those of the files that it names, and the interpreter."""
    told = hashlib.sha256(f"{sys.version_info[:3]} {sysconfig.get_platform()} {sys.base_prefix}".encode())
    seen: set[Path] = set()
    waiting = [requirements]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        try:
            data = file.read_bytes()
        except OSError as e:
            raise JobError(f"train.requirements {file} cannot be read: {e.strerror}", user=True) from None
        told.update(b"%d:" % len(data) + data)
        named = _INCLUDED.findall(data.decode("utf-8", "replace"))
        waiting += [file.parent / name for name in named if "://" not in name]
    return told.hexdigest()[:16]


@contextmanager
def _alone(path: Path, log: Callable[[str], None]) -> Iterator[IO[str]]:
    """Hold a lock, for which others that make the same environment are waited."""
    told = False
    while True:
        try:
            with held(path) as lock:
                yield lock
                return
        except Taken:
            if not told:
                log("tidemill: waiting for the environment, which another training is making")
            told = True
            time.sleep(_WAIT_SECONDS)


def _make(
    folder: Path, requirements: Path, environment: Mapping[str, str], log: Callable[[str], None], lock: IO[str]
) -> None:
    # What a process that was killed has left is no environment: only the mark, written last, makes it one.
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    python = str(folder / "bin" / "python")
    log(f"tidemill: making the environment of {requirements.name} with {'uv' if uv else 'venv and pip'}")
    started = time.monotonic()
    if uv:
        steps = [
            [uv, "venv", "--quiet", "--no-project", "--no-config", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", python, "--requirement", str(requirements)],
        ]
    else:
        options = ["--quiet", "--no-input", "--disable-pip-version-check"]
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [python, "-m", "pip", "install", *options, "--requirement", str(requirements)],
        ]
    for step in steps:
        code, said = _run(step, requirements.parent, environment, lock)
        if code:
            shutil.rmtree(folder, ignore_errors=True)
            last = said.strip().splitlines()[-_LAST_LINES:]
            raise JobError(
                f"train.requirements {requirements} could not be installed: {_told(last)}",
                user=not _NETWORK.search(said),
                detail="\n".join(last),
            )
    (folder / _COMPLETE).write_text("", encoding="utf-8")
    log(f"tidemill: the environment is there after {time.monotonic() - started:.0f} s; it is kept")


def _run(command: list[str], folder: Path, environment: Mapping[str, str], lock: IO[str]) -> tuple[int, str]:
    """Run an installer: its exit code and what it said. It holds the lock too, for as long as it lives: who comes when
    we are gone waits for it."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[lock.fileno()],
    )
    try:
        said = process.communicate()[0]
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, said


def _told(lines: list[str]) -> str:
    """An installer's last words in one line, from where it speaks of an error."""
    first = next((n for n, line in enumerate(lines) if re.search(r"error|×", line, re.IGNORECASE)), 0)
    said = " ".join(" ".join(lines[first:]).split()) or "it said nothing"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"


def _runtime(base: Path) -> Path:
    """A folder with Tidemill's runtime alone: where Tidemill is installed, all of Airflow's libraries are too."""
    files = runtime_files()
    digest = hashlib.sha256(b"".join(name.encode() + data for name, data in sorted(files.items()))).hexdigest()[:16]
    folder = base / f"runtime-{digest}"
    if not folder.exists():
        scratch = Path(tempfile.mkdtemp(dir=base))
        for name, data in files.items():
            file = scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(scratch, ignore_errors=True)
            if not folder.exists():
                raise
    return folder
