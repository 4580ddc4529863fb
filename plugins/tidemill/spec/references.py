"""``${vars.name}``, ``${with.name}`` and ``${row.name}`` in values: replaced, and nothing ever evaluated."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from tidemill.spec.document import Path, Place
from tidemill.spec.errors import MAX_ERRORS, SpecError, dotted, suggest
from tidemill.spec.layers import Graft, Layer, Stack, has, is_reused
from tidemill.spec.reader import MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_SCALAR

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{\s*([A-Za-z_]\w*)\s*\.([^{}]*)\}")
SCOPES: Final = ("vars", "with", "row")
_ELSEWHERE: Final = {
    "vars": ("a variable cannot refer to another value", "write the value out"),
    "with": ("there are no parameters here, which only a template has", "use a variable: ${vars.name}"),
    "row": ("there are no rows here, which only a file with a `matrix:` has", "use a variable: ${vars.name}"),
}
_ROW_IN_TEMPLATE: Final = "give it to the template: `with: {name: ${row.name}}`"


class Budget:
    """How much references may add to one pipeline, so that a short file stays a short plan."""

    def __init__(self) -> None:
        self._nodes = MAX_NODES
        self._characters = MAX_BYTES
        self._known: dict[int, tuple[Any, Size]] = {}

    def size(self, value: Any) -> Size:
        """The size of a value, which is measured once however often it is named."""
        if not isinstance(value, dict | list):
            return size_of(value)
        found = self._known.get(id(value))
        if found is None:
            found = self._known[id(value)] = value, size_of(value)  # kept with it: its id stays its own
        return found[1]

    def allows(self, value: Any) -> bool:
        """Whether a value may be added; it is counted."""
        size = self.size(value)
        self._nodes -= size.nodes
        self._characters -= size.characters
        return self._nodes >= 0 and self._characters >= 0


class Size(NamedTuple):
    """Values and characters of text in a value, and how deep it nests."""

    nodes: int
    characters: int
    height: int


def size_of(value: Any) -> Size:
    """The size of a value of a document."""
    if isinstance(value, str):
        return Size(1, len(value), 0)
    # `dict` and not `Mapping`, which costs several times more to ask for, of each of a hundred thousand values.
    if not isinstance(value, dict | list):
        return Size(1, 0, 0)
    nodes, characters, height = 1, 0, 0
    for below in value.values() if isinstance(value, dict) else value:
        more = size_of(below)
        nodes, characters, height = nodes + more[0], characters + more[1], max(height, more[2])
    if isinstance(value, dict):
        characters += sum(map(len, value))
    return Size(nodes, characters, height + 1)


class References:
    """Replaces the references of a document's parts; ``errors`` collects what names nothing, ``broken`` where."""

    def __init__(self, scopes: Mapping[str, Stack], budget: Budget, *, template: bool = False) -> None:
        self.errors: list[SpecError] = []
        self.broken: list[Path] = []
        self._scopes = scopes
        self._budget = budget
        self._template = template
        self._layer: Any = None
        self._grafts: dict[Path, Graft] = {}

    def layer(self, layer: Layer) -> Layer:
        """The layer with its references replaced; as it is if its file has none."""
        if not is_reused(layer.document):
            return layer
        self._layer, self._grafts = layer, {}
        value = self._replaced(layer.value, ())
        return Layer(layer.document, value, layer.prefix, self._grafts, layer.roots)

    def _replaced(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, Mapping):
            for key in value:
                if "${" in key and (found := _REFERENCE.search(key)) and found[1] in SCOPES:
                    self._error((*path, key), "references stand in values, not in keys", "write the key out", key=True)
            return {key: self._replaced(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            return [self._replaced(below, (*path, index)) for index, below in enumerate(value)]
        return value

    def _text(self, text: str, path: Path) -> Any:
        if len(self.errors) >= MAX_ERRORS:
            return text
        whole = _REFERENCE.fullmatch(text)
        if whole and whole[1]:
            found = self._look_up(whole, path)
            if found is None:
                return text
            scope, at, value = found
            if len(path) + self._budget.size(value).height > MAX_DEPTH:
                self._error(path, f"{whole[0]} nests more than {MAX_DEPTH} deep here", "write it flatter")
                return text
            self._grafts[path] = Graft(whole[0], scope, at, whole=True)
            return value if self._affordable(value, path) else text
        parts, end = [], 0
        for match in _REFERENCE.finditer(text):
            parts += [text[end : match.start()], self._part(match, path)]
            end = match.end()
        joined = "".join([*parts, text[end:]])
        if len(joined) > MAX_SCALAR:
            self._error(path, f"this text becomes longer than {MAX_SCALAR // 1024} KiB", "shorten it")
            return text
        return joined if not end or self._affordable(joined, path) else text

    def _part(self, match: re.Match[str], path: Path) -> str:
        if not match[1]:
            return "${"
        found = self._look_up(match, path)
        if found is None:
            return match[0]
        scope, at, value = found
        if isinstance(value, Mapping | list):
            kind = "a mapping" if isinstance(value, Mapping) else "a list"
            message = f"{match[0]} is {kind}, which cannot stand inside text"
            self._error(path, message, "let it stand alone, or refer to a part of it", match=match)
            return match[0]
        graft = Graft(match[0], scope, at, whole=False, here=match[1] == "vars")
        # The nearest to what the user of a template or a matrix wrote tells best where a mistake is.
        if path not in self._grafts or (self._grafts[path].here and not graft.here):
            self._grafts[path] = graft
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    def _look_up(self, match: re.Match[str], path: Path) -> tuple[Stack, Path, Any] | None:
        """Scope, path in it and value of what a reference names."""
        kind, name = match[1], match[2].strip()
        if kind not in SCOPES:
            near = suggest(kind, SCOPES)
            hint = f"did you mean ${{{near}.{name}}}?" if near else "write $${ for a literal ${"
            self._error(path, f'there is no "{kind}" to refer to', hint, match=match)
            return None
        scope = self._scopes.get(kind)
        if scope is None:
            message, hint = _ELSEWHERE["vars" if not self._scopes else kind]
            hint = _ROW_IN_TEMPLATE if kind == "row" and self._template else hint
            self._error(path, message, hint, match=match)
            return None
        parts = tuple(name.split("."))
        value: Any = scope.merged
        for part in parts:
            if not isinstance(value, Mapping) or part not in value:
                self._unknown(kind, parts, scope, match, path)
                return None
            value = value[part]
        return scope, parts, value

    def _unknown(self, kind: str, parts: tuple[str, ...], scope: Stack, match: re.Match[str], path: Path) -> None:
        at = next(length for length in range(len(parts)) if not has(scope.merged, parts[: length + 1]))
        above: Any = scope.merged
        for part in parts[:at]:
            above = above[part]
        known: Collection[str] = above if isinstance(above, Mapping) else ()
        near = suggest(parts[at], known)
        name = dotted(parts)
        if kind == "row":
            row = str(scope.merged["id"])
            hint = f'did you mean "{near}"?' if near else f"add `{name}:`"
            used = f"{self._layer.document.file}:{self._layer.written(path).mark[0]}"
            place = scope.spot(("id",), key=True)
            message = f'row "{row}" has no "{name}" for {match[0]} at {used}'
            self.errors.append(place.document.text.error(place.mark, ("matrix", row), message, hint))
            self.broken.append(path)
            return
        listed = f"known: {', '.join(known)}" if known else f"add `{name}:` to `{kind}:`"
        hint = f'did you mean "{near}"?' if near else listed
        self._error(path, f"there is no {kind}.{name}", hint, match=match)

    def _affordable(self, value: Any, path: Path) -> bool:
        if self._budget.allows(value):
            return True
        self._error(path, "the references of this pipeline make it too large", "use fewer, or shorter values")
        return False

    def _error(
        self, path: Path, message: str, hint: str, *, key: bool = False, match: re.Match[str] | None = None
    ) -> None:
        spot = self._layer.written(path, key)
        mark = _within(spot.document.lines, spot.mark, match[0]) if match else spot.mark
        self.errors.append(spot.document.text.error(mark, self._layer.at(path), message, hint))
        self.broken.append(path)


def _within(lines: list[str], mark: Place, text: str) -> Place:
    """The place of a text that stands at or behind another place on its line; that place if it is not there."""
    at = lines[mark[0] - 1].find(text, mark[1] - 1)
    return (mark[0], at + 1, len(text)) if at >= 0 else mark
