"""A pipeline's file, with the ``defaults.yaml`` it inherits, to a typed spec; every mistake with its place."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from tidemill.spec import later
from tidemill.spec.document import Document, Path
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.reader import read

DEFAULTS = "defaults.yaml"
_VERSION = "tidemill"
_FREE = ("train", "params")
"""Where the language ends: what stands here is the user's own, an empty value included."""


@dataclass(frozen=True)
class Sources:
    """The files a spec is made of, the pipeline's own first, then the defaults from near to far."""

    documents: tuple[Document, ...]

    @property
    def file(self) -> str:
        """The pipeline's own file, as errors name it."""
        return self.documents[0].file

    @cached_property
    def merged(self) -> dict[str, Any]:
        """The values, nearer files first: mappings are merged key by key, everything else is replaced, and a
        key without a value takes back what was inherited. The version is each file's own."""
        merged: dict[str, Any] = {}
        for document in reversed(self.documents[1:]):
            merged = merge(merged, document.value)
        merged.pop(_VERSION, None)
        return merge(merged, self.documents[0].value)

    def wrote(self, *path: str | int) -> bool:
        """Whether there is a value at a path, be it right or wrong."""
        return has(self.merged, path)

    def place(self, path: Path, *, key: bool = False) -> tuple[str, int, int]:
        """File, line and column where the value at ``path`` (or its key) is written."""
        document = self._holder(path)
        line, column, _ = document.mark(path, key)
        return document.file, line, column

    def error(
        self,
        path: Path,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        shown: Path | None = None,
    ) -> SpecError:
        """An error at ``path`` (or its key); ``shown`` is the path printed, where it differs from the place."""
        document = self._holder(path)
        return document.text.error(document.mark(path, key), path if shown is None else shown, message, hint)

    def _holder(self, path: Path) -> Document:
        for length in range(len(path), 0, -1):
            for document in self.documents:
                if has(document.value, path[:length]):
                    return document
        return self.documents[0]


def merge(base: Mapping[str, Any], over: Mapping[str, Any], at: Path = ()) -> dict[str, Any]:
    """``over`` laid over ``base``: mappings key by key, everything else replaced; an empty value removes."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if value is None and key in merged and at[:2] != _FREE:
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


def defaults_for(file: FilePath, dags: FilePath) -> list[FilePath]:
    """Where the defaults of a file may stand: in its folder and each one above, up to the DAG folder."""
    found = []
    for folder in (file.parent, *file.parent.parents):
        found.append(folder / DEFAULTS)
        if folder == dags:
            return found
    return [file.parent / DEFAULTS]


def shown_as(file: FilePath, root: FilePath) -> str:
    """How messages name a file: from the project's root (``dags/flights.yaml``), absolute outside of it."""
    try:
        return file.relative_to(root).as_posix()
    except ValueError:
        return file.as_posix()


def load_sources(file: FilePath, dags: FilePath, root: FilePath, data: bytes = b"") -> Sources:
    """Read a pipeline's file and the defaults it inherits. ``data``: the file's content, if it was read already.

    Raises:
        SpecErrors: a file cannot be read as YAML; what is wrong in all of them together.
        OSError: the file cannot be opened.
    """
    documents: list[Document] = []
    errors: list[SpecError] = []
    present = [path for path in defaults_for(file, dags) if path != file and path.is_file()]
    for path in (file, *present):
        try:
            content = data if path == file and data else path.read_bytes()
            documents.append(read(content, shown_as(path, root)))
        except SpecErrors as e:
            errors.extend(e.errors)
    if errors:
        raise SpecErrors(errors)
    return Sources(tuple(documents))


def parse(sources: Sources) -> tuple[Any, list[SpecError]]:
    """The typed spec of the merged values, and what is wrong with them.

    With mistakes, the spec holds what could be read: a section that could not is ``None``, so that the checks
    of meaning still find their own mistakes in the rest of the file.
    """
    from pydantic import ValidationError

    from tidemill.spec.models import Spec

    value = sources.merged
    errors = [*_versions_of_defaults(sources), *_unusable(sources, value, ())]
    empty = list(_empty(value, ()))
    if empty:
        from tidemill.spec.explain import no_value

        errors += [no_value(sources, path) for path in empty]
        value = _without(value, empty)
    try:
        return Spec.model_validate(value), errors
    except ValidationError as e:
        found = e.errors(include_url=False)
    from tidemill.spec.explain import explain

    errors += explain(sources, value, found, empty)
    return _salvage(value, found), errors


def _salvage(value: Mapping[str, Any], found: list[Any]) -> Any:
    """What can be read of a spec with mistakes: wrong keys are left out, then whole sections that still fail."""
    from pydantic import TypeAdapter, ValidationError

    from tidemill.spec.explain import path_of
    from tidemill.spec.models import Spec

    pruned = _without(value, [path_of(error["loc"], value) for error in found if error["type"] != "missing"])
    sections: dict[str, Any] = {}
    for name, field in Spec.model_fields.items():
        sections[name] = None
        if name in pruned:
            annotated: Any = field.rebuild_annotation()
            try:
                adapter = TypeAdapter(annotated, config=None if _is_model(annotated) else {"strict": True})
                sections[name] = adapter.validate_python(pruned[name])
            except ValidationError:
                continue
        elif not field.is_required():
            sections[name] = field.get_default(call_default_factory=True)
    return Spec.model_construct(**sections)


def _is_model(annotation: Any) -> bool:
    return hasattr(annotation, "model_config")


def _without(value: Mapping[str, Any], paths: Collection[Path]) -> dict[str, Any]:
    """A copy without the keys at some paths; items of lists stay."""
    pruned = copy.deepcopy(dict(value))
    for path in paths:
        at: Any = pruned
        for part in path[:-1]:
            at = at[part] if has(at, (part,)) else None
        if path and isinstance(at, dict):
            at.pop(path[-1], None)
    return pruned


def _versions_of_defaults(sources: Sources) -> Iterator[SpecError]:
    for document in sources.documents[1:]:
        if _VERSION in document.value:
            message = f'"{_VERSION}" is not inherited'
            yield document.error((_VERSION,), message, "write it into each pipeline's own file", key=True)


def _unusable(sources: Sources, value: Any, path: Path) -> Iterator[SpecError]:
    """Values that would be taken otherwise than they are written: no field of this version is a template, and
    what is no number has no form in JSON, by which parameters reach the training."""
    if isinstance(value, str):
        if path[:1] != ("description",) and ("{{" in value or "{%" in value):
            yield sources.error(path, "templates (`{{ … }}`) are not rendered here", later.HINT)
    elif isinstance(value, float):
        if path[:2] == _FREE and not math.isfinite(value):
            yield sources.error(path, "expected a finite number", "leave it out, and let the code know what that means")
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _unusable(sources, below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _unusable(sources, below, (*path, index))


def _empty(value: Mapping[str, Any], path: Path) -> Iterator[Path]:
    """The keys without a value."""
    for key, below in value.items():
        at = (*path, key)
        if below is None:
            yield at
        elif isinstance(below, Mapping) and at != _FREE:
            yield from _empty(below, at)
