"""A project's own code as one file for a container, and the command that runs it there.

What goes in is code: the files of ``include/`` whose suffix is in ``TEXT``, and Tidemill's runtime, which needs nothing
but Python. Equal content gives equal bytes, wherever and whenever it is packed.
"""

from __future__ import annotations

import ast
import base64
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import tokenize
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeGuard

import tidemill
from tidemill.platforms.ports import PlatformError
from tidemill.project import lies_in
from tidemill.runtime.stores import module_of
from tidemill.runtime.web import StoreError

TEXT: Final = frozenset({".py", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".sql", ".txt", ".j2"})
"""Suffixes of what a training may need beside its data. Data (Parquet, CSV …) reaches a job as its data version, and
a file of any other kind is left out; so is everything hidden (``.env``, ``.git``)."""
LIMIT: Final = 20_000_000
"""Bytes of code that are packed at most; more is data that has been put beside the code."""
FILE: Final = "code.tar.gz"

_FOLDER = "include"
_PRIVATE = b"PRIVATE KEY-----"
_STUB = b'"""The part of Tidemill that runs in a job\'s container."""\n'
# argv items of a SageMaker container have at most 256 characters, hence addresses as arguments of the shell.
_UNPACK = (
    'd=$(mktemp -d) && tar -xzf "$1/code.tar.gz" -C "$d" && shift && '
    'PYTHONPATH="$d${PYTHONPATH:+:$PYTHONPATH}" exec python3 -m tidemill.%s --code "$d" "$@"'
)
_LEFT_OUT = frozenset({"airflow", "backtest", "cli", "convert", "delivery", "demo", "infra", "testing", "web"})
"""Packages of Tidemill that no container has a use for."""


@dataclass(frozen=True)
class Package:
    """Packed code: a temporary file, for the caller to remove, and the version of its content (16 hex digits)."""

    file: Path
    version: str


def pack(root: Path, code: str) -> Package:
    """Pack the code of the project at ``root`` to run the function ``code`` (``module:function``).

    Raises:
        PlatformError: the function's module is not among it, a link leads out of the project, a file holds a private
            key, or there is more than ``LIMIT``. The fault is the user's.
    """
    files = _checked(root)
    module = code.partition(":")[0].replace(".", "/")
    if not {f"{module}.py", f"{module}/__init__.py"} & files.keys():
        raise _refused(
            f"train.code {code}: {root / module}.py is not there; code that runs elsewhere lies in {_FOLDER}/"
        )
    return _packed({**files, **runtime_files()})


def pack_whole(root: Path) -> Package:
    """Pack the code of the project at ``root`` with all of Tidemill that its steps need, for a job that computes what
    they do (``python -m tidemill.processing``). A model may name the project's own classes.

    Raises:
        PlatformError: as ``pack``, but for the module of a function.
    """
    return _packed({**_checked(root), **_whole()})


def _checked(root: Path) -> dict[str, bytes]:
    """The project's own files that are packed, by their names."""
    files = {name: path.read_bytes() for name, path in _own(root)}
    for name, data in files.items():
        if _PRIVATE in data and b"-----BEGIN" in data:
            raise _refused(f"{name} holds a private key, which would be stored with the code; keep it in a connection")
    _check_size({name: len(data) for name, data in files.items()})
    return files


def _packed(files: dict[str, bytes]) -> Package:
    content = _tar(files)
    handle, packed = tempfile.mkstemp(prefix="tidemill-code-", suffix=".tar.gz")
    with (
        open(handle, "wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as zipped,
    ):
        zipped.write(content)
    # Of the content, not of the file: another zlib compresses it to other bytes.
    return Package(Path(packed), hashlib.sha256(content).hexdigest()[:16])


def folder_command(*, platform: str, code: str, data: str, job: str, output: str, checkpoint: str | None) -> list[str]:
    """The command of a container whose platform mounts folders; ``code`` is the folder that holds ``code.tar.gz``."""
    given = _arguments(platform, data, job, output, checkpoint)
    return ["sh", "-c", _UNPACK % "runtime.remote", "tidemill", code, *given]


def processing_command(*, code: str, inputs: str, output: str, message: str) -> list[str]:
    """The command of a container that computes what a step does: ``inputs`` holds a folder for each input, ``message``
    is the file in which a failure is told."""
    given = ["--inputs", inputs, "--output", output, "--message", message]
    return ["sh", "-c", _UNPACK % "processing", "tidemill", code, *given]


def boot_command(*, platform: str, code: str, data: str, job: str, output: str, checkpoint: str | None) -> list[str]:
    """The command of a container that has to fetch what it needs: all of them addresses, ``code`` the folder's."""
    try:
        store = module_of(code)
    except StoreError as e:
        raise _refused(str(e)) from None
    if store is None:
        raise _refused(f"{code} is a path, which a container that mounts nothing cannot reach")
    return ["python3", "-c", _boot(store), code, *_arguments(platform, data, job, output, checkpoint)]


def _arguments(platform: str, data: str, job: str, output: str, checkpoint: str | None) -> list[str]:
    given = ["--platform", platform, "--data", data, "--job", job, "--output", output]
    return given if checkpoint is None else [*given, "--checkpoint", checkpoint]


@cache
def _boot(store: str) -> str:
    """A line of Python that holds what fetches the code from a store: AWS Batch takes 8 kB of command in all."""
    folder = Path(tidemill.__file__).parent / "runtime"
    parts = (folder.joinpath(f"{name}.py").read_text(encoding="utf-8") for name in ("web", store, "boot"))
    source = "from __future__ import annotations\n" + "\n".join(map(bare, parts))
    # Base64: other alphabets hold what Kubernetes, Vertex AI or AWS Batch replace in a command ($(…), Ref::…).
    small = base64.b64encode(zlib.compress(source.encode(), 9)).decode()
    return f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{small}')));main(Store)"


def bare(source: str) -> str:
    """A module's code alone: without documentation strings, comment lines, and imports of its neighbours."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.ImportFrom) and (node.level or node.module == "__future__")) or _is_text(node):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip()[0] == "#":
            left_out.add(token.start[0])
    return "\n".join(line for n, line in enumerate(source.splitlines(), 1) if n not in left_out)


def _is_text(node: ast.AST) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _own(root: Path) -> Iterator[tuple[str, Path]]:
    """The project's own files of code, by the names that they have in the package."""
    yield from _below(root, root / _FOLDER, frozenset())


def _below(root: Path, folder: Path, seen: frozenset[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if not folder.is_dir() or real in seen:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_symlink() and not lies_in(path, root) and (entry.is_dir() or path.suffix in TEXT):
            raise _refused(f"{path} is a link that leads out of the project; a package holds the project's own code")
        if entry.is_dir():
            yield from _below(root, path, seen | {real})
        elif entry.is_file() and path.suffix in TEXT:
            yield path.relative_to(root).as_posix(), path


def runtime_files() -> dict[str, bytes]:
    """Tidemill's runtime: what the user's function is called by, as files by their names."""
    folder = Path(tidemill.__file__).parent / "runtime"
    files = {f"tidemill/runtime/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    return {"tidemill/__init__.py": _STUB, **files}


@cache
def _whole() -> dict[str, bytes]:
    """Tidemill's own code, tables and pages, but for what only Airflow, the command line and people use."""
    base = Path(tidemill.__file__).parent
    names = (path.relative_to(base) for path in base.rglob("*") if path.suffix != ".pyc" and path.is_file())
    wanted = [name for name in names if name.parts[0] not in _LEFT_OUT]
    return {f"tidemill/{name.as_posix()}": (base / name).read_bytes() for name in wanted}


def _check_size(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total <= LIMIT:
        return
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:3]
    named = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
    raise _refused(
        f"{_FOLDER}/ holds {total / 1e6:.1f} MB of code and settings, more than the {LIMIT / 1e6:g} MB that a job's "
        f"package takes; the largest: {named}. Data belongs into data.source"
    )


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)  # its owner is 0, its time 0, its mode 0644
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def _refused(message: str) -> PlatformError:
    return PlatformError(message, fault="user")
