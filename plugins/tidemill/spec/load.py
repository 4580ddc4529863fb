"""A pipeline's file, with the ``defaults.yaml`` it inherits, to a typed spec; every mistake with its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from tidemill.spec import later
from tidemill.spec.document import Document, Path
from tidemill.spec.errors import SpecError, SpecErrors, suggest
from tidemill.spec.reader import read

DEFAULTS = "defaults.yaml"


@dataclass(frozen=True)
class Sources:
    """The files a spec is made of, the pipeline's own first, then the defaults from near to far."""

    documents: tuple[Document, ...]

    @property
    def file(self) -> str:
        """The pipeline's own file, as errors name it."""
        return self.documents[0].file

    def merged(self) -> dict[str, Any]:
        """The values, nearer files first: mappings are merged key by key, everything else is replaced."""
        merged: dict[str, Any] = {}
        for document in reversed(self.documents):
            merged = merge(merged, document.value)
        return merged

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


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``: mappings key by key, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
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


def load_sources(file: FilePath, dags: FilePath, root: FilePath) -> Sources:
    """Read a pipeline's file and the defaults it inherits.

    Raises:
        SpecErrors: a file cannot be read as YAML; what is wrong in all of them together.
        OSError: the file cannot be opened.
    """
    documents: list[Document] = []
    errors: list[SpecError] = []
    present = [path for path in defaults_for(file, dags) if path != file and path.is_file()]
    for path in (file, *present):
        try:
            documents.append(read(path.read_bytes(), shown_as(path, root)))
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

    value = sources.merged()
    errors = list(_unrendered(sources, value, ()))
    try:
        return Spec.model_validate(value), errors
    except ValidationError as e:
        found = e.errors(include_url=False)
    errors.extend(_explain(sources, value, found))
    return _salvage(value, found), errors


def _salvage(value: Mapping[str, Any], found: list[Any]) -> Any:
    """What can be read of a spec with mistakes: wrong keys are left out, then whole sections that still fail."""
    from pydantic import TypeAdapter, ValidationError

    from tidemill.spec.models import Spec

    pruned = copy.deepcopy(dict(value))
    for error in found:
        if error["type"] != "missing":
            _remove(pruned, _path_of(error["loc"], pruned))
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


def _remove(value: Any, path: Path) -> None:
    for part in path[:-1]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return
    if path and isinstance(value, dict):
        value.pop(path[-1], None)


def _path_of(loc: tuple[str | int, ...], value: Any) -> Path:
    """A pydantic location without the parts that name a union's branch or a mapping's key check."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(value, Mapping):
            if part in value:
                path.append(part)
                value = value[part]
            elif last and part != "[key]":
                path.append(part)
        elif isinstance(value, list) and isinstance(part, int):
            path.append(part)
            value = value[part] if part < len(value) else None
    return tuple(path)


def _explain(sources: Sources, value: Mapping[str, Any], found: list[Any]) -> Iterator[SpecError]:
    for error in found:
        path = _path_of(error["loc"], value)
        kind = error["type"]
        if kind == "missing":
            yield _missing(sources, path)
        elif kind == "extra_forbidden":
            yield _unknown_key(sources, path)
        else:
            message, hint = _wrong_value(error, path)
            yield sources.error(path, message, hint)


def _missing(sources: Sources, path: Path) -> SpecError:
    from tidemill.spec.models import model_at

    model = model_at(path[:-1])
    field = model.model_fields.get(str(path[-1])) if model else None
    hint = f"add `{path[-1]}:`" + (f" ({field.description.rstrip('.')})" if field and field.description else "")
    return sources.error(path[:-1], f'missing key "{path[-1]}"', hint, key=True)


def _unknown_key(sources: Sources, path: Path) -> SpecError:
    from tidemill.spec.models import model_at

    planned = later.key(path)
    if planned:
        return sources.error(path, planned, later.HINT, key=True)
    model = model_at(path[:-1])
    known = list(model.model_fields) if model else []
    near = suggest(str(path[-1]), known)
    hint = f'did you mean "{near}"?' if near else "known keys: " + ", ".join(known) if known else None
    return sources.error(path, f'unknown key "{path[-1]}"', hint, key=True, shown=path[:-1])


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list (`[a, b]`)",
    "dict_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
}


def _wrong_value(error: Mapping[str, Any], path: Path) -> tuple[str, str | None]:
    kind, given, context = error["type"], error.get("input"), error.get("ctx") or {}
    if kind in _EXPECTED:
        hint = 'quote it: "…"' if kind == "string_type" and isinstance(given, int | float) else None
        return f"expected {_EXPECTED[kind]}, got {describe(given)}", hint
    if kind == "literal_error":
        return _wrong_choice(context, given, path)
    if kind == "value_error":
        return str(context.get("error", error["msg"])), None
    if kind == "string_pattern_mismatch":
        from tidemill.spec.models import model_at

        model = model_at(path[:-1])
        field = model.model_fields.get(str(path[-1])) if model else None
        return f"{describe(given)} is not of the form this needs", field.description if field else None
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty", None
    message = str(error["msg"])
    return f"{message[:1].lower()}{message[1:]}, got {describe(given)}", None


def _wrong_choice(context: Mapping[str, Any], given: Any, path: Path) -> tuple[str, str | None]:
    expected = str(context.get("expected", ""))
    choices = [choice.strip().strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    planned = later.value(path, given)
    if planned:
        return planned, f"this version has {', '.join(choices)}"
    near = suggest(given, choices) if isinstance(given, str) else None
    return (
        f"expected {' or '.join(choices)}, got {describe(given)}",
        f'did you mean "{near}"?' if near else None,
    )


def describe(value: Any) -> str:
    """A value as a message shows it, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    shown = text if len(text) <= 60 else text[:59] + "…"
    return f'"{shown}"' if isinstance(value, str) else f"the number {shown}"


def _unrendered(sources: Sources, value: Any, path: Path) -> Iterator[SpecError]:
    """No field of this language version is a template, so a template would be taken literally."""
    if isinstance(value, str):
        if path[:1] != ("description",) and ("{{" in value or "{%" in value):
            yield sources.error(path, "templates (`{{ … }}`) are not rendered here", later.HINT)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _unrendered(sources, below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _unrendered(sources, below, (*path, index))
