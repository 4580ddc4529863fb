"""Runtime templates (Jinja) as text: what they name, what is wrong with them, and names written out in full.

Nothing here renders a template. Positions are offsets into the text, in characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tidemill.spec.errors import printable

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

INTERVAL_NAMES = frozenset((
    "ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "logical_date",
    "data_interval_start", "data_interval_end",
))  # fmt: skip
"""What Airflow defines only in runs that have a logical date, or an interval."""
_ROOTS = INTERVAL_NAMES | {"steps", "each", "as_of"}
_MAX_LENGTH = 200_000
"""Characters of a text that is taken for a template; Jinja's parser would need seconds for more."""
_UNSAFE = frozenset((
    "mro", "func_closure", "func_code", "func_dict", "func_defaults", "func_globals", "gi_frame", "gi_code",
    "cr_frame", "cr_code", "ag_frame", "ag_code", "tb_frame", "tb_next",
    "f_globals", "f_locals", "f_builtins", "f_back", "f_code",
))  # fmt: skip
"""Attributes by which Python's own objects lead to everything else; Jinja's sandbox refuses them at run time."""
_BY_NAME = frozenset(
    ("attr", "map", "selectattr", "rejectattr", "sort", "groupby", "sum", "unique", "min", "max", "join")
)
"""Filters that take the name of an attribute."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One name of ours, or of an interval, that a template uses.

    ``steps.a.b``, ``steps['a'].b`` and ``steps('a').b`` all have the ``parts`` ``("a", "b")``; a first part may hold
    dots (``steps['group.a']``). No parts: the name stands bare, or what it takes is not written out in plain
    text. ``dashed``: what was probably meant where a ``-`` follows directly, as in ``steps.my-step``.
    """

    name: str
    parts: tuple[str, ...]
    start: int
    end: int
    called: bool = False
    dashed: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong with a template; ``line`` counts from 1 within the text."""

    message: str
    hint: str | None = None
    line: int = 1


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str
    start: int
    end: int


Resolve = Callable[[Reference], "tuple[str, int] | None"]
"""The full id of the step that a reference names, and how many of its parts say so; ``None`` leaves it."""


def is_template(text: str) -> bool:
    """Whether Jinja would do anything with a text."""
    return "{{" in text or "{%" in text or "{#" in text


def references(text: str) -> list[Reference]:
    """The names of ours that a template uses, in order. A template with mistakes has none."""
    if not any(name in text for name in _ROOTS) or not is_template(text):
        return []
    return list(_found(text))


@lru_cache(maxsize=512)
def _found(text: str) -> tuple[Reference, ...]:
    if problems(text):
        return ()
    own = _assigned(text)
    return tuple(reference for reference in _references(_tokens(text)) if reference.name not in own)


def alone(text: str) -> Reference | None:
    """The reference that is all of a text: ``{{ steps.a.b }}``, with nothing before, after or around it."""
    if not (text.startswith("{{") and text.endswith("}}")):
        return None
    found = references(text)
    if len(found) == 1 and not text[2 : found[0].start].strip() and not text[found[0].end : -2].strip():
        return found[0]
    return None


def rewrite(text: str, resolve: Resolve) -> str:
    """The text with each step's name in full and ``as_of`` called: ``{{ steps.a.b ~ as_of }}`` becomes
    ``{{ steps('group.a').b ~ as_of() }}``. All else stays as it is written, comments and raw blocks included.
    """
    pieces: list[str] = []
    at = 0
    for reference in references(text):
        new = None
        if reference.name == "as_of" and not reference.called:
            new = "as_of()" + text[reference.start + len("as_of") : reference.end]
        elif reference.name == "steps" and (found := resolve(reference)) is not None:
            full, used = found
            new = f"steps({_literal(full)})" + "".join(_member(part) for part in reference.parts[used:])
        if new is not None:
            pieces += [text[at : reference.start], new]
            at = reference.end
    return "".join([*pieces, text[at:]])


def problems(text: str) -> tuple[TemplateProblem, ...]:
    """What is wrong with a template: its syntax, or that it reaches for what Airflow's sandbox refuses."""
    return _problems(text) if is_template(text) else ()


def _member(part: str) -> str:
    return f".{part}" if part.isidentifier() else f"[{_literal(part)}]"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2.sandbox import SandboxedEnvironment

    # As Airflow makes it; nothing is rendered in it.
    return SandboxedEnvironment(extensions=["jinja2.ext.do"], keep_trailing_newline=True, cache_size=0)


@lru_cache(maxsize=2)  # what looks for problems and what looks for names follow each other
def _parse(text: str) -> nodes.Template:
    return _environment().parse(text)


@lru_cache(maxsize=512)
def _problems(text: str) -> tuple[TemplateProblem, ...]:
    from jinja2 import TemplateSyntaxError

    if len(text) > _MAX_LENGTH:
        return (TemplateProblem(f"a template of more than {_MAX_LENGTH:,} characters", "move it into a file"),)
    try:
        # One is enough to say: the first that is written, which in a chain of attributes is the deepest.
        found = [*_walk(_parse(text))]
        return (min(reversed(found), key=lambda problem: problem.line),) if found else ()
    except TemplateSyntaxError as e:
        message = printable(str(e.message or "it cannot be read"))[:200].rstrip(".")
        hint = "text that is no template goes between {% raw %} and {% endraw %}"
        return (TemplateProblem(f"not a valid template: {message}", hint, e.lineno),)
    except RecursionError:
        return (TemplateProblem("the template is nested too deeply", "write it in several steps"),)
    except (ValueError, OverflowError) as e:  # a number of thousands of digits
        return (TemplateProblem(f"not a valid template: {printable(str(e))[:200]}"),)


def _walk(tree: nodes.Node) -> Iterator[TemplateProblem]:
    # With a stack of its own: a long chain of attributes is a deep tree, however flat it looks.
    from jinja2 import nodes

    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        waiting.extend(reversed([*node.iter_child_nodes()]))
        for name in _attributes(node):
            for part in name.split("."):
                if (part.startswith("__") and len(part) > 2) or part in _UNSAFE:
                    message = f'"{printable(part)[:60]}" leads out of the sandbox in which templates run'
                    yield TemplateProblem(message, "use the values themselves, not Python's insides", node.lineno)
        if isinstance(node, nodes.Filter) and node.name == "attr" and _text(next(iter(node.args), None)) is None:
            yield TemplateProblem("the attribute's name must be written out", "write `value.name`", node.lineno)


def _attributes(node: nodes.Node) -> Iterator[str]:
    """Names of attributes that a node asks for."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr):
        yield node.attr
    elif isinstance(node, nodes.Name | nodes.NSRef):
        yield node.name
        if isinstance(node, nodes.NSRef):
            yield node.attr
    elif isinstance(node, nodes.Getitem):
        yield _text(node.arg) or ""
    elif isinstance(node, nodes.Filter) and node.name in _BY_NAME:
        # The first argument of `join` is what it puts between.
        given = [*node.args[node.name == "join" :], *(pair.value for pair in node.kwargs if pair.key != "d")]
        yield from filter(None, map(_text, given))


def _text(node: nodes.Node | None) -> str | None:
    """The text that an expression of constants makes, without computing anything else."""
    from jinja2 import nodes

    pieces: list[str] = []
    waiting = [node]
    while waiting:
        match waiting.pop():
            case nodes.Const(value=str(value)) | nodes.TemplateData(data=value):
                pieces.append(value)
            case nodes.Concat(nodes=items):
                waiting.extend(reversed(items))
            case nodes.Add(left=left, right=right):
                waiting += [right, left]
            case _:
                return None
    return "".join(pieces)


@lru_cache(maxsize=512)
def _assigned(text: str) -> frozenset[str]:
    """Names that the template itself gives a value to: loop variables, ``set``, parameters of macros."""
    from jinja2 import nodes

    found = set()
    waiting: list[nodes.Node] = [_parse(text)]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.iter_child_nodes())
        if (isinstance(node, nodes.Name) and node.ctx in ("store", "param")) or isinstance(node, nodes.Macro):
            found.add(node.name)
    return frozenset(found)


def _tokens(text: str) -> list[_Token]:
    """The significant tokens of a template's expressions and tags, with their offsets.

    Jinja's lexer gives no offsets; but its tokens are the text, but for white space that ``-`` takes away and for
    line ends, which it makes equal first.
    """
    plain, offsets = text, None
    if "\r" in text:
        kept = [at for at, char in enumerate(text) if not (char == "\n" and text[at - 1 : at] == "\r")]
        plain = "".join("\n" if text[at] == "\r" else text[at] for at in kept)
        offsets = [*kept, len(text)]
    tokens = []
    at = 0
    for _, kind, value in _environment().lexer.tokeniter(text, None):
        start = plain.index(value, at)
        at = start + len(value)
        if kind in ("name", "operator", "string", "variable_begin", "variable_end", "block_begin", "block_end"):
            tokens.append(_Token(kind, value, offsets[start] if offsets else start, offsets[at] if offsets else at))
        elif kind not in ("whitespace", "data", "comment_begin", "comment", "comment_end", "raw_begin", "raw_end"):
            tokens.append(_Token("other", value, start, at))
    return tokens


def _references(tokens: Sequence[_Token]) -> Iterator[Reference]:
    brackets: list[str] = []
    for index, token in enumerate(tokens):
        if token.kind == "operator":
            if token.value in "([{":
                brackets.append(token.value)
            elif token.value in ")]}" and brackets:
                brackets.pop()
        elif token.kind.endswith("_begin"):
            brackets = []
        elif token.kind == "name" and token.value in _ROOTS and not _is_other(tokens, index, brackets):
            yield _reference(tokens, index)


def _is_other(tokens: Sequence[_Token], index: int, brackets: Sequence[str]) -> bool:
    """Whether a name is no variable here: an attribute, a filter, a test, a tag, or an argument's name."""
    before = tokens[index - 1]
    if before.value in (".", "|") or before.kind == "block_begin":
        return True
    if before.kind == "name" and before.value in ("is", "block", "endblock", "filter", "call", "macro"):
        return before.value != "call"
    if before.value == "not" and tokens[index - 2].value == "is":
        return True
    return bool(brackets) and brackets[-1] == "(" and _value(tokens, index + 1) == "="


def _reference(tokens: Sequence[_Token], index: int) -> Reference:
    """The reference that starts at a name: the name, and the plain attributes and texts behind it."""
    root = tokens[index]
    parts: list[str] = []
    called = False
    at = index + 1
    if _value(tokens, at) == "(":
        called = True
        if root.value == "steps" and tokens[at + 1].kind == "string" and _value(tokens, at + 2) == ")":
            parts.append(_string(tokens[at + 1].value))
            at += 3
    if root.value in ("steps", "each") and (parts or not called):
        while True:
            if _value(tokens, at) == "." and tokens[at + 1].kind == "name":
                # What is called is the value's own method, as in steps.a.b.strip(), and no field.
                if parts and _value(tokens, at + 2) == "(":
                    break
                parts.append(tokens[at + 1].value)
                at += 2
            elif _value(tokens, at) == "[" and tokens[at + 1].kind == "string" and _value(tokens, at + 2) == "]":
                parts.append(_string(tokens[at + 1].value))
                at += 3
            else:
                break
    end = tokens[at - 1].end
    return Reference(root.value, tuple(parts), root.start, end, called, _dashed(tokens, at, parts))


def _dashed(tokens: Sequence[_Token], at: int, parts: Sequence[str]) -> str | None:
    """``my-step`` where ``steps.my-step`` was written, which Jinja reads as a subtraction."""
    if not parts or tokens[at].value != "-":
        return None
    word = parts[-1]
    while at + 1 < len(tokens) and tokens[at].value == "-" and tokens[at].start == tokens[at - 1].end:
        if tokens[at + 1].kind not in ("name", "other") or tokens[at + 1].start != tokens[at].end:
            break
        word += f"-{tokens[at + 1].value}"
        at += 2
    return word if word != parts[-1] else None


def _value(tokens: Sequence[_Token], at: int) -> str:
    return tokens[at].value if at < len(tokens) and tokens[at].kind == "operator" else ""


def _string(written: str) -> str:
    """The text of a string as Jinja's lexer reads it."""
    decoded: Any = written[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
    return str(decoded)
