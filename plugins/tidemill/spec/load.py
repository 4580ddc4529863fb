"""A pipeline's file, with the ``defaults.yaml`` it inherits, to a typed spec; every mistake with its place."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from tidemill.project import lies_in
from tidemill.settings import environment
from tidemill.spec import later
from tidemill.spec.document import Document, Path
from tidemill.spec.errors import MAX_ERRORS, SpecError, SpecErrors
from tidemill.spec.layers import Layer, Stack, has, is_free, is_reused, merge
from tidemill.spec.reader import content_of, read

if TYPE_CHECKING:
    from tidemill.spec.models import Workflow
    from tidemill.spec.reuse import Reuse

__all__ = [
    "DEFAULTS",
    "KINDS",
    "Pipelines",
    "Sources",
    "defaults_for",
    "has",
    "is_free",
    "load_pipelines",
    "load_sources",
    "merge",
    "parse",
    "shown_as",
    "values_of",
]

DEFAULTS = "defaults.yaml"
KINDS = frozenset({"score", "monitor"})
"""How the ids of a pipeline's other DAGs end; so no row of a matrix is called."""
_VERSION = "tidemill"
_RENDERED = frozenset({("for_each",), ("map_index_template",), ("doc_md",), ("tooltip",)})
"""Keys of a step with templates of its own, or that are only shown."""
_MAX_SALVAGED = 1_000
"""Mistakes up to which the rest of a file is read and checked, too."""
_DATA = frozenset({"for_each", "extra", "user_defined_macros"})
"""Keys below which nothing is a value."""


@dataclass(frozen=True)
class Sources:
    """The files a spec is made of, the pipeline's own first, then its template, then the defaults from near to far.

    ``reused``: their layers after references were replaced, where there is anything of the kind; the first ``own``
    of them are the file's and its template's. ``problems``: references that name nothing; ``broken``: the keys that
    hold them.
    """

    documents: tuple[Document, ...]
    reused: tuple[Layer, ...] = ()
    own: int = 1
    row: str | None = None
    problems: tuple[SpecError, ...] = ()
    broken: tuple[Path, ...] = ()

    @property
    def file(self) -> str:
        """The pipeline's own file, as errors name it."""
        return self.documents[0].file

    @cached_property
    def stack(self) -> Stack:
        """The layers of values, the uppermost first. The version is each file's own."""
        if self.reused:
            return Stack(self.reused)
        own, *defaults = self.documents
        inherited = (Layer(d, {k: v for k, v in d.value.items() if k != _VERSION}) for d in defaults)
        return Stack((Layer(own, own.value), *inherited))

    @property
    def merged(self) -> dict[str, Any]:
        """The values, nearer files first: mappings are merged key by key, everything else is replaced, and a
        key without a value takes back what was inherited."""
        return self.stack.merged

    @cached_property
    def written(self) -> dict[str, Any]:
        """The values of the pipeline's own file and its template, without what is inherited."""
        return Stack(self.stack.layers[: self.own]).merged

    def wrote(self, *path: str | int) -> bool:
        """Whether there is a value at a path, be it right or wrong."""
        return has(self.merged, path)

    def place(self, path: Path, *, key: bool = False) -> tuple[str, int, int]:
        """File, line and column where the value at ``path`` (or its key) is written."""
        spot = self.stack.spot(path, key)
        return spot.document.file, spot.mark[0], spot.mark[1]

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
        spot = self.stack.spot(path, key)
        message = f"{message} ({spot.note})" if spot.note else message
        return spot.document.text.error(spot.mark, path if shown is None else shown, message, hint)


class Pipelines:
    """What one file makes: one pipeline, or one for each row of its matrix."""

    def __init__(self, documents: tuple[Document, ...], reuse: Reuse | None = None) -> None:
        self._documents = documents
        self.reuse = reuse

    @property
    def rows(self) -> tuple[str, ...] | None:
        """The rows of the file's matrix; ``None`` if it has none."""
        return self.reuse.rows if self.reuse is not None else None

    def sources(self, row: str | None = None) -> Sources:
        """What one pipeline is made of. ``row``: which one, in a file with a matrix.

        Raises:
            SpecErrors: the values for its references are wrong themselves.
        """
        if self.reuse is None:
            return Sources(self._documents)
        layers, own, problems, broken = self.reuse.layers(row)
        return Sources(self._documents, layers, own, row, tuple(problems), tuple(broken))


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
    """Read the file of one pipeline, the template it uses and the defaults it inherits.

    ``data``: the file's content, if it was read already. Of a file with a matrix: its first row.

    Raises:
        SpecErrors: a file cannot be read as YAML; what is wrong in all of them together.
        OSError: the file cannot be opened.
    """
    found = load_pipelines(file, dags, root, data)
    return found.sources(found.rows[0] if found.rows else None)


def load_pipelines(
    file: FilePath, dags: FilePath, root: FilePath, data: bytes = b"", looked_at: list[FilePath] | None = None
) -> Pipelines:
    """Read a file with everything it is made of; as :func:`load_sources`.

    ``looked_at`` takes, also when this raises, the template that the file names besides its defaults.
    """
    documents: list[Document] = []
    errors: list[SpecError] = []
    present = [path for path in defaults_for(file, dags) if path != file and path.is_file()]
    for path in (file, *present):
        try:
            if path != file and not lies_in(path, dags, root):
                message, hint = "this is a link that leads out of the project", "copy the file"
                raise SpecErrors([SpecError(shown_as(path, root), 1, 1, "", message, hint)])
            content = data if path == file and data else content_of(path)
            documents.append(read(content, shown_as(path, root)))
        except SpecErrors as e:
            errors.extend(e.errors)
    if errors:
        raise SpecErrors(errors)
    own, *defaults = documents
    if not any(map(is_reused, documents)):
        return Pipelines(tuple(documents))
    from tidemill.spec.reuse import ENVIRONMENTS, Reuse, template_file

    used = template_file(own, dags, looked_at if looked_at is not None else [])
    template = read(content_of(used), shown_as(used, root)) if used is not None else None
    together = (own, *([template] if template is not None else []), *defaults)
    chosen = environment() if any(ENVIRONMENTS in document.value for document in together) else None
    return Pipelines(together, Reuse(own, tuple(defaults), template, chosen))


def values_of(sources: Sources) -> dict[str, Any]:
    """The merged values that a spec is read from."""
    from tidemill.spec.models import STAGES, Workflow, model_for

    value = sources.merged
    if model_for(sources.written) is Workflow:
        # What the folder's defaults say of stages is not meant for a file that has none.
        value = {key: item for key, item in value.items() if key not in STAGES}
    return value


def parse(sources: Sources) -> tuple[Any, list[SpecError]]:
    """The typed spec of the merged values, and what is wrong with them.

    With mistakes, the spec holds what could be read: a section that could not is ``None``, so that the checks
    of meaning still find their own mistakes in the rest of the file.
    """
    from pydantic import ValidationError

    from tidemill.spec.models import model_for

    value, model = values_of(sources), model_for(sources.written)
    errors = [*_versions_of_defaults(sources), *sources.problems]
    if sources.broken:
        value = _without(value, sources.broken)
    errors += islice(_unusable(sources, value, ()), MAX_ERRORS)
    empty = list(_empty(value, ()))
    if empty:
        from tidemill.spec.explain import no_value

        errors += [no_value(sources, path) for path in empty[:MAX_ERRORS]]
        value = _without(value, empty)
    empty += sources.broken
    try:
        return model.model_validate(value), errors
    except ValidationError as e:
        found = e.errors(include_url=False)
    from tidemill.spec.explain import explain

    errors += explain(sources, value, found[:MAX_ERRORS], empty)
    if len(found) > _MAX_SALVAGED:
        return _salvage(model, {}, []), errors
    return _salvage(model, value, found), errors


def _salvage(model: type[Workflow], value: Mapping[str, Any], found: list[Any]) -> Any:
    """What can be read of a spec with mistakes: wrong keys are left out, then whole sections that still fail."""
    from pydantic import TypeAdapter, ValidationError

    from tidemill.spec.explain import path_of

    pruned = _without(value, [path_of(error["loc"], value) for error in found if error["type"] != "missing"])
    sections: dict[str, Any] = {}
    for name, field in model.model_fields.items():
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
    return model.model_construct(**sections)


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
    inherited = {id(layer.document): layer.document for layer in sources.stack.layers[sources.own :]}
    for document in inherited.values():
        if _VERSION in document.value:
            message = f'"{_VERSION}" is not inherited'
            yield document.error((_VERSION,), message, "write it into each pipeline's own file", key=True)


def _is_rendered(path: Path) -> bool:
    """Whether Airflow may render what stands at ``path``, or only shows it."""
    at = 1
    while path[at - 1 : at] == ("steps",):
        at += 2
    if at > 1 and path[at - 1 : at] in _RENDERED:
        return True
    return path[:1] in {("description",), ("doc_md",)} or (is_free(path) and path[:1] != ("train",))


def _unusable(sources: Sources, value: Any, path: Path) -> Iterator[SpecError]:
    """Values that would be taken otherwise than they are written: no field of this version is a template, and
    what is no number has no form in JSON, by which parameters reach the training."""
    if isinstance(value, str):
        if not _is_rendered(path) and ("{{" in value or "{%" in value):
            yield sources.error(path, "templates (`{{ … }}`) are not rendered here", later.HINT)
    elif isinstance(value, float):
        data = is_free(path) or path[:1] == ("access_control",) or not _DATA.isdisjoint(path)
        if data and not math.isfinite(value):
            yield sources.error(path, "expected a finite number", "leave it out, and let the code know what that means")
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _unusable(sources, below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _unusable(sources, below, (*path, index))


def _empty(value: Any, path: Path) -> Iterator[Path]:
    """The keys without a value."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _empty(item, (*path, index))
    elif isinstance(value, Mapping):
        for key, below in value.items():
            at = (*path, key)
            if below is None:
                yield at
            elif key not in _DATA and not is_free(at):
                yield from _empty(below, at)
