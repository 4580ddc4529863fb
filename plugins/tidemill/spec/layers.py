"""Values laid over one another, each with the place where it is written: in its file, or where a reference took it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tidemill.spec.document import Document, Path, Place

_ARGUMENTS = frozenset({"with", "options", "executor_config", "params"})

CONSUMED = frozenset({"vars", "environments", "uses", "with", "matrix"})
"""The keys that are gone when the models see a spec."""
_REUSE = CONSUMED | {"parameters"}


def is_reused(document: Document) -> bool:
    """Whether a file has a key or a reference that must be dealt with before the models see it. One in quotes may be
    written with escapes."""
    content = document.text.content
    return "${" in content or "\\" in content or not _REUSE.isdisjoint(document.value)


def is_free(path: Path) -> bool:
    """Whether the language ends here: what stands at ``path`` is the user's own, an empty value included."""
    if path[:2] == ("train", "params") or path[:1] == ("params",):
        return True
    at = 1
    while path[at - 1 : at] == ("steps",):  # its names are the user's, too, and may be any of these words
        at += 2
    return not _ARGUMENTS.isdisjoint(path[at - 1 if at > 1 else at :])


def merge(base: Mapping[str, Any], over: Mapping[str, Any], at: Path = ()) -> dict[str, Any]:
    """``over`` laid over ``base``: mappings key by key, everything else replaced; an empty value removes."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if value is None and key in merged and not is_free(at):
            del merged[key]
        elif isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value, (*at, key))
        else:
            merged[key] = value
    return merged


def has(value: Any, path: Path) -> bool:
    """Whether there is a value at ``path``."""
    for part in path:
        if isinstance(value, Mapping):
            if part not in value:
                return False
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Graft:
    """What a reference put into a value: the whole of it, or a part of its text (then ``whole`` is false).

    ``here``: a mistake in the value is shown where the text stands, not where the reference leads.
    """

    reference: str
    scope: Stack
    path: Path
    whole: bool
    here: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file, and what else must be said about it: where a value is used, or comes from."""

    document: Document
    mark: Place
    note: str | None = None

    @property
    def text(self) -> str:
        """``file:line:column``."""
        return f"{self.document.file}:{self.mark[0]}:{self.mark[1]}"


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of a document, its references replaced.

    Its values stand below ``prefix`` in the document; those named in ``roots`` stand there instead.
    """

    document: Document
    value: Mapping[str, Any]
    prefix: Path = ()
    grafts: Mapping[Path, Graft] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)

    def at(self, path: Path) -> Path:
        """Where in the document a value of this layer is written."""
        if path and path[0] in self.roots:
            return (*self.roots[str(path[0])], *path[1:])
        return (*self.prefix, *path)

    def written(self, path: Path, key: bool = False) -> Spot:
        """The place of a value, or its key, in this layer's own document."""
        return Spot(self.document, self.document.mark(self.at(path), key))

    def spot(self, path: Path, key: bool = False) -> Spot:
        """The place where the value at ``path`` (or its key) is written."""
        for length in range(len(path), 0, -1) if self.grafts else ():
            graft = self.grafts.get(path[:length])
            if graft is None or (key and length == len(path)):
                continue
            if graft.here:
                return self.origin(path[:length])
            used = self.written(path[:length])
            origin = graft.scope.spot((*graft.path, *path[length:]) if graft.whole else graft.path, key)
            return Spot(origin.document, origin.mark, f"used at {used.text}")
        return self.written(path, key)

    def origin(self, path: Path) -> Spot:
        """As :func:`spot`; of a text that holds references, where the text stands."""
        graft = self.grafts.get(path)
        if graft is None or graft.whole:
            return self.spot(path)
        used = self.written(path)
        return Spot(used.document, used.mark, f"with {graft.reference} from {graft.scope.spot(graft.path).text}")


class Stack:
    """Layers, the uppermost first."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers

    @cached_property
    def merged(self) -> dict[str, Any]:
        """The values, upper layers first: mappings are merged key by key, everything else is replaced, and a key
        without a value takes back what lies below."""
        merged: dict[str, Any] = {}
        for layer in reversed(self.layers):
            merged = merge(merged, layer.value)
        return merged

    def spot(self, path: Path, key: bool = False) -> Spot:
        """The place where the value at ``path`` (or its key) is written; that of what is nearest above it, if
        there is no such value."""
        return self.holder(path).spot(path, key)

    def holder(self, path: Path) -> Layer:
        """The layer that the value at ``path``, or what is nearest above it, comes from."""
        for length in range(len(path), 0, -1):
            for layer in self.layers:
                if has(layer.value, path[:length]):
                    return layer
        return next((layer for layer in self.layers if not layer.prefix), self.layers[-1])
