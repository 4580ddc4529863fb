"""The signatures of a project's own functions and classes, read from their files; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tidemill.checks.allowed import Use, elsewhere, split_name
from tidemill.checks.annotations import from_node
from tidemill.checks.code import PROJECT_PACKAGE, Module, module_file, origin, read_module, submodules
from tidemill.checks.parameters import (
    Init,
    Parameter,
    Signature,
    SignatureProblem,
    kinds_of,
    merged,
    read_function,
    read_init,
)
from tidemill.project import lies_in
from tidemill.spec.errors import suggest

CONTEXT_NAMES = frozenset((
    "asset_state_store", "conn", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash",
    "exception", "expanded_ti_count", "inlet_events", "inlets", "logical_date", "macros", "map_index_template",
    "outlet_events", "outlets", "params", "partition_date", "partition_key", "prev_data_interval_end_success",
    "prev_data_interval_start_success", "prev_end_date_success", "prev_start_date_success", "reason", "run_id",
    "task", "task_instance", "task_instance_key_str", "task_reschedule_count", "task_state_store", "templates_dict",
    "test_mode", "ti", "triggering_asset_events", "try_number", "ts", "ts_nodash", "ts_nodash_with_tz", "var",
))  # fmt: skip
"""What Airflow hands a function of itself, by the parameter's name."""
_MAX_BASES = 20
_KEEPING = frozenset(("cache", "lru_cache", "wraps", "contextmanager", "asynccontextmanager", "override"))
"""Decorators behind which a function takes what is written."""

Base = Callable[[str], "Signature | SignatureProblem"]
"""The signature of a base class that is not in the project, by its full name."""


def is_written(name: str) -> bool:
    """Whether a name is of the project's own code."""
    return name.partition(".")[0] == PROJECT_PACKAGE


def function_signature(name: str, root: Path) -> Signature | SignatureProblem:
    """The signature of a function, ``include.m:f``."""
    module, member = split_name(name)
    found = _definition(name, "callable", root)
    if isinstance(found, SignatureProblem):
        return found
    _, node = found
    if isinstance(node, ast.ClassDef) or node is None:
        return Signature(name, ("function",), open=True)
    return _of_function(name, module, member, node)


def bases_outside(name: str, use: Use, root: Path) -> set[str]:
    """The full names of the base classes of a project's class that are not the project's own."""
    found: set[str] = set()

    def note(base: str) -> SignatureProblem:
        found.add(base)
        return SignatureProblem("not looked at yet")

    class_signature(name, use, root, note)
    return found


def class_signature(name: str, use: Use, root: Path, base_of: Base) -> Signature | SignatureProblem:
    """The signature of a class, ``include.m.Class``.

    Where a base cannot be read, arguments are not checked (the signature is ``open``).
    """
    found = _definition(name, use, root)
    if isinstance(found, SignatureProblem):
        return found
    module, node = found
    if node is None:
        return Signature(name, open=True, template_fields=None)
    if not isinstance(node, ast.ClassDef):
        return SignatureProblem(f'"{name}" is a function', "a class is expected here")
    return replace(_of_class(node, module, root, base_of, _MAX_BASES), name=name)


def _definition(name: str, use: Use, root: Path) -> tuple[Module, ast.AST | None] | SignatureProblem:
    """Where a name is defined, and its definition if it can be seen."""
    module, member = split_name(name)
    file = module_file(module, root)
    if file is None:
        return SignatureProblem(f'there is no module "{module}"', _module_meant(name, module, root))
    if not lies_in(file, root):
        shown = file.relative_to(root).as_posix()
        return SignatureProblem(f"{shown} is a link that leads out of the project", "copy it into include")
    try:
        read = read_module(module, root)
        found = origin(module, member, root)
        holder = read_module(found.module, root) if found.node is not None else None
    except (SyntaxError, ValueError, OSError) as e:
        line = f":{e.lineno}" if isinstance(e, SyntaxError) and e.lineno else ""
        shown = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        return SignatureProblem(f"{shown}{line} is not valid Python: {getattr(e, 'msg', None) or e}")
    if read is None or (not found.found and found.module == module):
        return SignatureProblem(*_unknown(module, member, read, use))
    wrong = elsewhere(name, use, found.module, found.name)
    if wrong is not None:
        return SignatureProblem(*wrong)
    return holder or read, found.node


def _module_meant(name: str, module: str, root: Path) -> str:
    parts = module.split(".")
    for index in range(1, len(parts)):
        beside = submodules(".".join(parts[:index]), root)
        if parts[index] not in beside:
            near = suggest(parts[index], beside)
            if near:
                meant = ".".join([*parts[:index], near, *parts[index + 1 :]])
                return f'did you mean "{meant}{name[len(module) :]}"?'
            break
    return f"expected at {'/'.join(parts)}.py"


def _unknown(module: str, member: str, read: Module | None, use: Use) -> tuple[str, str]:
    wanted = "function" if use == "callable" else "class"
    classes = set(read.classes) if read else set()
    known = [name for name in (read.defined if read else ()) if (name in classes) == (use != "callable")]
    near = suggest(member, known)
    mark = ":" if use == "callable" else "."
    hint = f'did you mean "{module}{mark}{near}"?' if near else f"it defines: {', '.join(known[:8]) or f'no {wanted}'}"
    return f'"{module}" has no {wanted} "{member}"', hint


def _of_function(name: str, module: str, member: str, node: ast.AST) -> Signature | SignatureProblem:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    parameters, is_open = read_function(node, method=False)
    decorated = [_decorator(one) for one in node.decorator_list]
    if any(one == "task" or one.startswith("task.") for one in decorated):
        hint = "leave the decorator out: the spec makes the task"
        return SignatureProblem(f'"{member}" is made a task in its own module', hint)
    if any(one.rpartition(".")[2] not in _KEEPING for one in decorated):
        # What stands behind an unknown decorator may take other arguments.
        is_open = True
        parameters = tuple(replace(one, required=False) for one in parameters)
    parameters = tuple(replace(one, required=one.required and one.name not in CONTEXT_NAMES) for one in parameters)
    kinds = ["function"]
    if isinstance(node, ast.AsyncFunctionDef):
        kinds.append("async")
    if any(isinstance(one, ast.Yield | ast.YieldFrom) for one in _own(node)):
        kinds.append("generator")
    if from_node(node.returns)["type"] == "mapping":
        kinds.append("mapping")
    doc = (ast.get_docstring(node) or "").strip().partition("\n")[0] or None
    return Signature(name, tuple(kinds), parameters, open=is_open, doc=doc)


def _own(function: ast.AST) -> list[ast.AST]:
    """The parts of a function that are not of a function inside it."""
    found: list[ast.AST] = []
    waiting = [*ast.iter_child_nodes(function)]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            found.append(node)
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _decorator(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _of_class(node: ast.ClassDef, module: Module, root: Path, base_of: Base, depth: int) -> Signature:
    bases = [_base(one, module, root, base_of, depth) for one in node.bases if not _is_generic(one)]
    known = [one for one in bases if one is not None]
    unseen = len(known) < len(bases)
    own = _own_init(node)
    parameters, settings, is_open = _with_bases(node.name, own, known, unseen)
    kinds = {kind for one in known for kind in one.kinds} - {"deferrable"} | {*kinds_of([node.name], ())}
    if "operator" in kinds and any(one.name == "deferrable" for one in parameters):
        kinds.add("deferrable")
    doc = (ast.get_docstring(node) or "").strip().partition("\n")[0] or None
    fields = _fields(node, known, unseen)
    kinds |= {"unknown"} if unseen and not kinds else set()
    return Signature(node.name, tuple(sorted(kinds)), parameters, settings, fields, is_open, doc)


def _with_bases(
    owner: str, own: Init | None, bases: list[Signature], unseen: bool
) -> tuple[tuple[Parameter, ...], tuple[str, ...], bool]:
    """A class's parameters, with those of its bases as far as its ``**kwargs`` hand them on."""
    if own is None and not bases:
        return (), (), unseen
    inits = [own] if own is not None else []
    if own is not None and not own.keywords:
        return (*merged(inits)[:2], False)
    # What the bases hand on themselves is part of their signatures already.
    settings = tuple(dict.fromkeys(name for one in bases for name in one.settings))
    inits += [Init(one.name, one.parameters, keywords=True, forwards=True) for one in bases]
    parameters, _, _ = merged(inits)
    hands_on = own is None or own.forwards
    is_open = unseen or not hands_on or not bases or any(one.open for one in bases)
    named = {one.name for one in parameters}
    return parameters, tuple(one for one in settings if one not in named), is_open


def _own_init(node: ast.ClassDef) -> Init | None:
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return read_init(node.name, one)
    decorated = [_decorator(one).rpartition(".")[2] for one in node.decorator_list]
    if "dataclass" in decorated and not node.bases:
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
        found = [
            Parameter(one.target.id, from_node(one.annotation), one.value is None)
            for one in fields
            if isinstance(one.target, ast.Name) and "ClassVar" not in ast.unparse(one.annotation)
        ]
        return Init(node.name, tuple(found))
    return None if node.bases or not node.decorator_list else Init(node.name, keywords=True)


def _base(node: ast.expr, module: Module, root: Path, base_of: Base, depth: int) -> Signature | None:
    """The signature of a base class; ``None`` if it cannot be told."""
    name = _imported_name(node, module)
    if name is None or depth == 0:
        return None
    try:
        found = origin(*name, root, within=PROJECT_PACKAGE) if is_written(name[0]) else None
    except (SyntaxError, ValueError, OSError):
        return None
    if found is not None and isinstance(found.node, ast.ClassDef):
        holder = read_module(found.module, root)
        return _of_class(found.node, holder, root, base_of, depth - 1) if holder is not None else None
    where, member = (found.module, found.name) if found is not None else name
    if is_written(where) or not member:
        return None
    base = base_of(f"{where}.{member}")
    return base if isinstance(base, Signature) else None


def _imported_name(node: ast.expr, module: Module) -> tuple[str, str] | None:
    """Module and name of a base class as it is written: ``Base``, ``m.Base``, ``Base[T]``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return (module.name, node.id) if node.id in {*module.defined, *module.imported, *module.assigned} else None
    parts = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else []
    if len(parts) > 1 and parts[0] in module.imported:
        where, name = module.imported[parts[0]]
        return ".".join(filter(None, [where, name, *parts[1:-1]])), parts[-1]
    return None


def _is_generic(node: ast.expr) -> bool:
    name = ast.unparse(node.value if isinstance(node, ast.Subscript) else node).rpartition(".")[2]
    return name in ("Generic", "Protocol", "ABC", "object")


def _fields(node: ast.ClassDef, bases: list[Signature], unseen: bool) -> tuple[str, ...] | None:
    """A class's template fields, where they are written out, or its bases'."""
    for one in reversed(node.body):
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "template_fields" for target in targets):
            value = one.value if isinstance(one, ast.Assign | ast.AnnAssign) else None
            return _texts(value, bases)
    found = next((base.template_fields for base in bases if base.template_fields != ()), ())
    return None if unseen and not found else found


def _texts(value: ast.expr | None, bases: list[Signature]) -> tuple[str, ...] | None:
    match value:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            parts = [_texts(item, bases) for item in items]
            return None if None in parts else tuple(text for part in parts for text in part or ())
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _texts(ast.Tuple(elts=[left, right], ctx=ast.Load()), bases)
        case ast.Starred(value=inner) | ast.Call(func=ast.Name(id="tuple" | "list"), args=[inner]):
            return _texts(inner, bases)
        case ast.Attribute(value=ast.Name(id=name), attr="template_fields"):
            return next((base.template_fields for base in bases if base.short == name), None)
    return None
