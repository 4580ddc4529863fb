"""Python modules as text: where they are and what they define, without importing any of them."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

PROJECT_PACKAGE = "include"
"""The package of a project's own code, in the project's root."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_HOPS = 20
"""Imports that are followed from a name to where it is defined."""


@dataclass(frozen=True)
class Module:
    """What a module's file binds at its top, conditionally or not."""

    name: str
    file: Path
    defined: dict[str, Function | ast.ClassDef] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name to module and name there; an empty name there is the module itself."""
    assigned: frozenset[str] = frozenset()
    stars: tuple[str, ...] = ()
    dynamic: bool = False
    """Whether the module makes names up when they are asked for (``__getattr__``)."""
    exported: frozenset[str] = frozenset()
    """The names in its ``__all__``, if that is written out."""

    @property
    def classes(self) -> list[str]:
        """The public classes that it defines."""
        return [name for name, node in self.defined.items() if isinstance(node, ast.ClassDef) and name[:1] != "_"]


@dataclass(frozen=True)
class Origin:
    """Where a name comes from: the module that binds it, and its definition there if it can be seen."""

    module: str
    name: str
    node: Function | ast.ClassDef | None = None
    found: bool = True
    """False: no such name can be seen."""


def module_file(module: str, root: Path | None = None) -> Path | None:
    """The file of a module, found by name alone; ``None`` if there is none. ``root``: the project's."""
    for folder, parts in _places(module, root):
        path = folder.joinpath(*parts)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


def is_compiled(module: str) -> bool:
    """Whether a module is there only as machine code, which nobody can read."""
    return any(
        folder.joinpath(*parts[:-1], f"{parts[-1]}{suffix}").is_file()
        for folder, parts in _places(module, None)
        if parts
        for suffix in EXTENSION_SUFFIXES
    )


def submodules(package: str, root: Path | None = None) -> set[str]:
    """The names of the modules and packages directly in a package."""
    found = set()
    for folder, parts in _places(package, root):
        try:
            entries = [*os.scandir(folder.joinpath(*parts))]
        except OSError:
            continue
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if stem.isidentifier() and (suffix == ".py" or (not suffix and entry.is_dir())):
                found.add(stem)
    return found - {"__init__", "__pycache__"}


def read_module(module: str, root: Path | None = None) -> Module | None:
    """A module's file, read; ``None`` if it has none.

    Raises:
        SyntaxError, ValueError: the file is not valid Python.
        OSError: it cannot be opened.
    """
    file = module_file(module, root)
    return _read(module, file, *_state(file)) if file is not None else None


def origin(module: str, name: str, root: Path | None = None, *, within: str = "") -> Origin:
    """Where a name of a module comes from; imports are followed as far as modules can be read, and with ``within``
    only to the first module outside of that package.

    Raises what ``read_module`` raises.
    """
    for _ in range(_MAX_HOPS):
        if within and module.partition(".")[0] != within:
            return Origin(module, name)
        read = read_module(module, root)
        if read is None:
            return Origin(module, name, found=False)
        if name in read.defined:
            return Origin(module, name, read.defined[name])
        if name in read.imported:
            module, name = read.imported[name]
            if not name or module_file(module, root) is None:
                return Origin(module, name)
            if name in submodules(module, root) and module_file(f"{module}.{name}", root) is not None:
                inside = read_module(module, root)
                if inside is not None and name not in {*inside.defined, *inside.imported, *inside.assigned}:
                    return Origin(f"{module}.{name}", "")
            continue
        if name in read.assigned or (read.dynamic and (not read.exported or name in read.exported)):
            return Origin(module, name)
        for star in read.stars:
            behind = origin(star, name, root, within=within) if star != module else Origin(star, name, found=False)
            if behind.found or module_file(star, root) is None:
                return behind
        return Origin(module, name, found=False)
    return Origin(module, name, found=False)


def tree_of(source: bytes) -> ast.Module:
    """Python source, parsed; thousands of pipelines may share one function's file."""
    return _tree(source)


def may_bind(tree: ast.Module, name: str) -> bool:
    """Whether a module may hold the name otherwise than by ``def``: imported, assigned, or conditionally."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"):
            return True
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return True
    return False


def top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that are run when a module is imported, those under conditions included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            yield from top_level(node.body)
            if not isinstance(node, ast.With):
                yield from top_level(node.orelse)
            if isinstance(node, ast.Try):
                yield from top_level(node.finalbody)
                for handler in node.handlers:
                    yield from top_level(handler.body)


@lru_cache(maxsize=64)
def _tree(source: bytes) -> ast.Module:
    return ast.parse(source)


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=256)
def _read(module: str, file: Path, modified: int, size: int) -> Module:
    # Time and size are part of the key: an edit is seen without a restart.
    try:
        tree = _tree(file.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    defined: dict[str, Function | ast.ClassDef] = {}
    imported: dict[str, tuple[str, str]] = {}
    assigned: set[str] = set()
    stars: list[str] = []
    for node in top_level(tree.body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined[node.name] = node
            case ast.ImportFrom():
                source = _absolute(node, package)
                for alias in node.names:
                    if alias.name == "*":
                        stars.append(source)
                    else:
                        # Of several conditional imports, the first is the one that is preferred.
                        imported.setdefault(alias.asname or alias.name, (source, alias.name))
            case ast.Import():
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    imported[alias.asname or top] = (alias.name if alias.asname else top, "")
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [name for target in targets for name in ast.walk(target)]
                assigned |= {name.id for name in names if isinstance(name, ast.Name)}
    exported = _exported(tree)
    dynamic = "__getattr__" in defined or "__getattr__" in assigned
    return Module(module, file, defined, imported, frozenset(assigned), tuple(stars), dynamic, exported)


def _exported(tree: ast.Module) -> frozenset[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=items) | ast.Tuple(elts=items)):
                return frozenset(str(item.value) for item in items if isinstance(item, ast.Constant))
    return frozenset()


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _places(module: str, root: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """Folders that may hold a module, with the parts of its path in each."""
    parts = module.split(".")
    if parts[0] == PROJECT_PACKAGE:
        if root is not None:
            yield root, parts
        return
    seen = set()
    for entry in [*sys.path]:
        if entry not in seen:
            seen.add(entry)
            yield Path(entry or "."), parts
    # Installed in place by a finder instead of a folder on the path.
    for location in _locations(parts[0]):
        yield Path(location), parts[1:]


@lru_cache(maxsize=64)
def _locations(top: str) -> tuple[str, ...]:
    from importlib.util import find_spec

    try:
        spec = find_spec(top)  # a name without dots: nothing is imported
    except (ImportError, ValueError):
        return ()
    return tuple(spec.submodule_search_locations or ()) if spec is not None else ()
