"""What can be said about a spec by looking at the project's files, without running any of them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from tidemill.checks.code import PROJECT_PACKAGE, may_bind, tree_of
from tidemill.project import Project
from tidemill.spec.document import Path as Path_
from tidemill.spec.errors import SpecError, printable, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow


def check(spec: Workflow, sources: Sources, project: Project) -> list[SpecError]:
    """What the stages of a spec name and the project does not hold."""
    if not isinstance(spec, Spec):
        return []
    files = [*_expect(spec, sources, project), *_requirements(spec, sources, project)]
    return [*_source(spec, sources, project), *_code(spec, sources, project), *files]


def files_read(spec: Workflow, project: Project) -> list[Path]:
    """The files that ``check`` looks at: when one of them changes, its answer may."""
    if not isinstance(spec, Spec):
        return []
    files = [_module_file(spec.train.code, project)] if spec.train else []
    if spec.data and spec.data.expect:
        files.append(project.path(spec.data.expect))
    if spec.train and spec.train.requirements:
        files.append(project.path(spec.train.requirements))
    return files


def _module_file(code: str, project: Project) -> Path:
    module = project.root.joinpath(*code.partition(":")[0].split("."))
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def _source(spec: Spec, sources: Sources, project: Project) -> Iterator[SpecError]:
    """Data may lie elsewhere, but only where a whole path says so."""
    source = spec.data.source if spec.data is not None else ""
    if ".." in Path(source).parts and not Path(source).is_absolute():
        found = Path(os.path.normpath(project.path(source)))
        if not found.is_relative_to(project.root):
            hint = "paths start at the project's root; of data elsewhere, write the whole path"
            yield sources.error(("data", "source"), f'"{printable(source)[:80]}" leads out of the project', hint)


def _code(spec: Spec, sources: Sources, project: Project) -> Iterator[SpecError]:
    if spec.train is None:
        return
    path = ("train", "code")
    module, _, function = spec.train.code.partition(":")
    if module.partition(".")[0] != PROJECT_PACKAGE:
        yield sources.error(
            path, f'"{module}" is not in the project\'s include folder', "e.g. include.flights.train:train"
        )
        return
    file = _module_file(spec.train.code, project)
    if not file.is_file():
        where = file.relative_to(project.root).as_posix()
        yield sources.error(path, f'there is no module "{module}"', f"expected at {where}")
        return
    if not project.holds(file):
        where = file.relative_to(project.root).as_posix()
        yield sources.error(path, f"{where} is a link that leads out of the project", "copy it into include")
        return
    try:
        tree = tree_of(file.read_bytes())
    except (RecursionError, MemoryError):
        yield sources.error(path, f'"{module}" is nested too deeply to be read', "write it flatter")
        return
    except (SyntaxError, ValueError) as e:
        line = f":{e.lineno}" if isinstance(e, SyntaxError) and e.lineno else ""
        name = file.relative_to(project.root).as_posix()
        yield sources.error(path, f"{name}{line} is not valid Python: {getattr(e, 'msg', e)}")
        return
    yield from _function(tree, function, module, sources)
    if spec.train.resources.spot is not None and not _resumes(tree):
        message = (
            f'"{module}" never looks at context.checkpoint: an interrupted training would begin anew, and be paid again'
        )
        hint = "save to context.checkpoint and go on from what is there, or remove spot"
        yield sources.error(("train", "resources", "spot"), message, hint, key=True)


def _resumes(tree: ast.Module) -> bool:
    """Whether anything in a module asks for a checkpoint, or hands its context on to somebody who may."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == "checkpoint")
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PROJECT_PACKAGE)
        for node in ast.walk(tree)
    )


def _function(tree: ast.Module, function: str, module: str, sources: Sources) -> Iterator[SpecError]:
    path = ("train", "code")
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if isinstance(defined.get(function), ast.AsyncFunctionDef):
        yield sources.error(path, f'"{function}" is async, which nobody awaits', f"def {function}(context): …")
    elif function in defined:
        if not _takes_one(defined[function].args):
            yield sources.error(path, f'"{function}" must take one argument', f"def {function}(context): …")
    elif not may_bind(tree, function):
        near = suggest(function, defined)
        hint = f'did you mean "{near}"?' if near else f"it defines: {', '.join(defined) or 'no function'}"
        yield sources.error(path, f'"{module}" has no function "{function}"', hint)


def _takes_one(arguments: ast.arguments) -> bool:
    """Whether a function can be called with one positional argument."""
    taken = len(arguments.posonlyargs) + len(arguments.args)
    needed = taken - len(arguments.defaults)
    return needed <= 1 and (taken > 0 or arguments.vararg is not None) and None not in arguments.kw_defaults


def _expect(spec: Spec, sources: Sources, project: Project) -> Iterator[SpecError]:
    if spec.data is not None and spec.data.expect is not None:
        yield from _file(spec.data.expect, ("data", "expect"), sources, project)


def _requirements(spec: Spec, sources: Sources, project: Project) -> Iterator[SpecError]:
    if spec.train is not None and spec.train.requirements is not None:
        yield from _file(spec.train.requirements, ("train", "requirements"), sources, project)


def _file(name: str, path: Path_, sources: Sources, project: Project) -> Iterator[SpecError]:
    """A file of the project must be there, and in it."""
    hint = "paths start at the project's root"
    if not project.holds(project.path(name)):
        yield sources.error(path, f'"{printable(name)[:80]}" leads out of the project', hint)
    elif not project.path(name).is_file():
        yield sources.error(path, f'there is no file "{name}"', hint)
