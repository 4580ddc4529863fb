"""What one file takes from others and gives to many: variables, environments, templates, rows of a matrix.

Everything here happens on plain values that keep their places, before the models see them. Nothing is evaluated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Final

from tidemill.spec.document import Document, Path
from tidemill.spec.errors import SpecError, SpecErrors, suggest
from tidemill.spec.layers import CONSUMED, Layer, Stack
from tidemill.spec.load import KINDS
from tidemill.spec.parameters import NAME, PARAMETERS, check_declared, check_given, defaults_of
from tidemill.spec.reader import content_of, read
from tidemill.spec.references import Budget, References, size_of

VARS: Final = "vars"
ENVIRONMENTS: Final = "environments"
USES: Final = "uses"
WITH: Final = "with"
MATRIX: Final = "matrix"
ID: Final = "id"
TEMPLATES: Final = "templates"
MAX_ROWS: Final = 10_000
MAX_SIZE: Final = 32 * 1024 * 1024
"""Characters that the pipelines of one matrix may amount to, 16 for each value besides its text."""

_VERSION: Final = "tidemill"
_NOT_IN_DEFAULTS: Final = {
    USES: "each pipeline names its own template",
    WITH: "each pipeline gives its template its own values",
    MATRIX: "write it into the pipeline's own file",
    PARAMETERS: "parameters belong to a template",
}
_NOT_IN_TEMPLATES: Final = {
    USES: "a template cannot use another one; write what they share into defaults.yaml",
    WITH: "only a file that uses a template gives it values",
    MATRIX: "write it into the file that uses the template",
}


def template_file(own: Document, dags: FilePath, looked_at: list[FilePath]) -> FilePath | None:
    """The template that a pipeline's file uses, if it uses one; ``looked_at`` takes where it should be.

    Raises:
        SpecErrors: what ``uses`` says is no file in a folder ``templates`` of the DAG folder.
    """
    if USES not in own.value:
        return None
    written = own.value[USES]
    hint = f"e.g. {TEMPLATES}/churn.yaml, which starts at the DAG folder"
    if not isinstance(written, str) or not written:
        raise SpecErrors([own.error((USES,), "expected the path of a template", hint, key=written is None)])
    if "${" in written:
        raise SpecErrors([own.error((USES,), "the template is the same for all environments and rows", hint)])
    parts = FilePath(written).parts
    if FilePath(written).is_absolute() or ".." in parts or "\\" in written or "\0" in written:
        raise SpecErrors([own.error((USES,), f'"{written}" leads out of the DAG folder', hint)])
    if TEMPLATES not in parts[:-1]:
        message = f'"{written}" is in no folder called {TEMPLATES}, where templates are kept apart from pipelines'
        raise SpecErrors([own.error((USES,), message, hint)])
    found = dags / written
    looked_at.append(found)
    if not found.is_file():
        near = suggest(found.name, _yaml_in(found.parent))
        hint = f"did you mean {found.with_name(near).relative_to(dags).as_posix()}?" if near else hint
        raise SpecErrors([own.error((USES,), f'there is no file "{written}" in the DAG folder', hint)])
    if not found.resolve().is_relative_to(dags.resolve()):
        raise SpecErrors([own.error((USES,), f'"{written}" is a link that leads out of the DAG folder', hint)])
    return found


def _yaml_in(folder: FilePath) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return []


def environments_in(file: FilePath) -> list[str]:
    """The environments that a file has overlays for; none if it cannot be read."""
    try:
        found = read(content_of(file), str(file)).value.get(ENVIRONMENTS, {})
    except (OSError, SpecErrors):
        return []
    return list(found) if isinstance(found, Mapping) else []


class Reuse:
    """One file's reuse of others: which pipelines it makes, and the layers that each of them is made of.

    Raises:
        SpecErrors: the keys that it reads are wrong; each at its place.
    """

    def __init__(
        self, own: Document, defaults: tuple[Document, ...], template: Document | None, environment: str | None
    ) -> None:
        self._own = own
        self._template = template
        self._environment = environment
        errors = list(_check(own, defaults, template))
        if errors:
            raise SpecErrors(errors)
        self._bodies = list(self._parts(own, CONSUMED))
        if template is not None:
            self._bodies += self._parts(template, CONSUMED | {PARAMETERS, _VERSION})
        self._own_count = len(self._bodies)
        for document in defaults:
            self._bodies += self._parts(document, CONSUMED | {_VERSION})
        self._vars = self._variables(defaults)
        self._left = MAX_SIZE

    @property
    def rows(self) -> tuple[str, ...] | None:
        """The rows of the matrix; ``None`` if the file has none and is one pipeline."""
        return tuple(self._own.value[MATRIX]) if MATRIX in self._own.value else None

    def layers(self, row: str | None = None) -> tuple[tuple[Layer, ...], int, list[SpecError], list[Path]]:
        """The layers of one pipeline, the uppermost first; how many of them are the file's own and its template's;
        the references in them that name nothing, and where they stand.

        Raises:
            SpecErrors: the values for its references are wrong themselves.
        """
        budget = Budget()
        scopes = {"vars": self._vars}
        if row is not None:
            scopes["row"] = self._row(row, budget)
        own = References(scopes, budget)
        inherited = References({"vars": self._vars}, budget)
        passes = {id(self._own): own}
        if self._template is not None:
            given = self._given(own)
            passes[id(self._template)] = References({"vars": self._vars, "with": given}, budget, template=True)
        layers = tuple(passes.get(id(layer.document), inherited).layer(layer) for layer in self._bodies)
        used = [*passes.values(), inherited]
        errors = [error for references in used for error in references.errors]
        broken = [_key_of(path) for references in used for path in references.broken]
        if row is not None:
            self._count(layers)
        return layers, self._own_count, errors, broken

    def in_row(self, row: str, error: SpecError) -> bool:
        """Whether an error is shown inside a row of the matrix."""
        start = self._own.mark((MATRIX, row), key=True)[:2]
        behind = bisect_right(self._starts, start)
        end = self._starts[behind] if behind < len(self._starts) else None
        place = (error.line, error.column)
        return error.file == self._own.file and start <= place and (end is None or place < end)

    def at_row(self, row: str, message: str, hint: str | None = None) -> SpecError:
        """An error about a row as a whole."""
        return self._own.error((MATRIX, row), message, hint, key=True)

    def at_matrix(self, message: str, hint: str | None = None) -> SpecError:
        """An error about the matrix as a whole."""
        return self._own.error((MATRIX,), message, hint, key=True)

    @cached_property
    def _starts(self) -> list[tuple[int, int]]:
        """Where the rows begin, and the keys behind the matrix."""
        own = self._own
        rows = sorted(own.mark((MATRIX, name), key=True)[:2] for name in own.value[MATRIX])
        return rows + sorted(mark for key in own.value if (mark := own.mark((key,), key=True)[:2]) > rows[-1])

    def _parts(self, document: Document, without: Collection[str]) -> Iterator[Layer]:
        """A document as layers: what it says for the chosen environment, then the rest."""
        overlay = document.value.get(ENVIRONMENTS, {}).get(self._environment)
        if overlay:
            kept = {key: value for key, value in overlay.items() if key not in CONSUMED}
            yield Layer(document, kept, (ENVIRONMENTS, str(self._environment)))
        yield Layer(document, {key: value for key, value in document.value.items() if key not in without})

    def _below(self, document: Document, key: str) -> Iterator[Layer]:
        """The mapping under a key of a document as layers: that of the chosen environment, then the other one."""
        overlay = document.value.get(ENVIRONMENTS, {}).get(self._environment) or {}
        if key in overlay:
            yield Layer(document, overlay[key], (ENVIRONMENTS, str(self._environment), key))
        if key in document.value:
            yield Layer(document, document.value[key], (key,))

    def _variables(self, defaults: tuple[Document, ...]) -> Stack:
        documents = [self._own, *([self._template] if self._template is not None else []), *defaults]
        literal = References({}, Budget())
        layers = [literal.layer(layer) for document in documents for layer in self._below(document, VARS)]
        found = Stack((*layers, Layer(self._own, {}, (VARS,))))
        errors = [*literal.errors, *_without_value(found, VARS)]
        if errors:
            raise SpecErrors(errors)
        return found

    def _row(self, row: str, budget: Budget) -> Stack:
        references = References({"vars": self._vars}, budget)
        layer = references.layer(Layer(self._own, self._own.value[MATRIX][row], (MATRIX, row)))
        name = Layer(self._own, {ID: row}, (MATRIX, row))
        found = Stack((layer, name))
        errors = [*references.errors, *_without_value(found, MATRIX, row)]
        if errors:
            raise SpecErrors(errors)
        return found

    def _given(self, references: References) -> Stack:
        assert self._template is not None
        layers = [references.layer(layer) for layer in self._below(self._own, WITH)]
        literal = References({}, Budget())
        found = Stack((*layers, literal.layer(defaults_of(self._template))))
        errors = [*references.errors, *literal.errors] or list(check_given(found, self._own, self._template))
        if errors:
            raise SpecErrors(errors)
        return found

    def _count(self, layers: tuple[Layer, ...]) -> None:
        for layer in layers:
            size = size_of(layer.value)
            self._left -= 16 * size.nodes + size.characters
        if self._left < 0:
            message = "the pipelines of this matrix are too large together"
            raise SpecErrors([self.at_matrix(message, "split it into several files")])


def _key_of(path: Path) -> Path:
    """The key whose value a path is in: what stands in a list goes with the list."""
    return path[: next((index for index, part in enumerate(path) if isinstance(part, int)), len(path))]


def _without_value(stack: Stack, *shown: str) -> Iterator[SpecError]:
    for name, value in stack.merged.items():
        if value is None:
            spot = stack.spot((name,), key=True)
            yield spot.document.text.error(spot.mark, (*shown, name), "no value", "write one, or remove the key")


# What is wrong with the keys themselves


def _check(own: Document, defaults: tuple[Document, ...], template: Document | None) -> Iterator[SpecError]:
    if WITH in own.value and template is None:
        yield own.error((WITH,), "there is no template to give values to", "add `uses: templates/….yaml`", key=True)
    yield from _check_matrix(own)
    yield from _check_mappings(own, is_own=True)
    if PARAMETERS in own.value:
        message = '"parameters" belong to a template, and this is a pipeline'
        yield own.error((PARAMETERS,), message, f"move the file to a folder {TEMPLATES}, or write `params:`", key=True)
    for document in defaults:
        for key, hint in _NOT_IN_DEFAULTS.items():
            if key in document.value:
                yield document.error((key,), f'"{key}" is not inherited', hint, key=True)
        yield from _check_mappings(document)
    if template is not None:
        for key, hint in _NOT_IN_TEMPLATES.items():
            if key in template.value:
                yield template.error((key,), f'"{key}" cannot stand in a template', hint, key=True)
        if template.value.get(_VERSION) != 1 or isinstance(template.value.get(_VERSION), bool):
            yield template.error((_VERSION,), "a template begins with `tidemill: 1`", None, key=True)
        yield from check_declared(template)
        yield from _check_mappings(template)


def _check_mappings(document: Document, *, is_own: bool = False) -> Iterator[SpecError]:
    """``vars``, ``with`` and the overlays of a document are mappings that hold what they may."""
    yield from _check_names(document, (VARS,))
    if is_own:
        yield from _check_names(document, (WITH,))
    overlays = document.value.get(ENVIRONMENTS, {})
    if not isinstance(overlays, Mapping):
        yield document.error((ENVIRONMENTS,), "expected a mapping", "e.g. {prod: {schedule: daily}}")
        return
    refused = {_VERSION, ENVIRONMENTS, USES, MATRIX, PARAMETERS} | (set() if is_own else {WITH})
    for name, overlay in overlays.items():
        at = (ENVIRONMENTS, name)
        if not NAME.fullmatch(name):
            message = f'"{name}" cannot be the name of an environment'
            yield document.error(at, message, 'letters, digits, "_" and "-"', key=True)
        if not isinstance(overlay, Mapping):
            message = "no value" if overlay is None else "expected a mapping of the keys that differ there"
            yield document.error(at, message, "e.g. {schedule: daily}, or remove it")
            continue
        for key in refused & overlay.keys():
            message = f'"{key}" is the same in every environment'
            yield document.error((*at, key), message, "write it at the top of the file", key=True)
        yield from _check_names(document, (*at, VARS))
        if is_own:
            yield from _check_names(document, (*at, WITH))


def _check_names(document: Document, path: tuple[str, ...]) -> Iterator[SpecError]:
    """What stands at a path, if anything does, is a mapping of names."""
    value: Any = document.value
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return
        value = value[part]
    if not isinstance(value, Mapping):
        message = "no value" if value is None else "expected a mapping of names to values"
        yield document.error(path, message, "e.g. {name: value}; or remove the key")
        return
    for name in value:
        if not NAME.fullmatch(name):
            message = f'"{name}" cannot be a name to refer to'
            yield document.error((*path, name), message, 'letters, digits, "_" and "-"', key=True)


def _check_matrix(own: Document) -> Iterator[SpecError]:
    if MATRIX not in own.value:
        return
    rows, example = own.value[MATRIX], "e.g. {north: {carrier: AA}, south: {carrier: DL}}"
    if not isinstance(rows, Mapping) or not rows:
        yield own.error((MATRIX,), "expected a mapping of rows, each with its values", example)
        return
    if len(rows) > MAX_ROWS:
        message = f"{len(rows):,} rows are more than {MAX_ROWS:,}"
        yield own.error((MATRIX,), message, "split the matrix into several files", key=True)
        return
    for row, values in rows.items():
        at = (MATRIX, row)
        if not NAME.fullmatch(row):
            message = f'"{row}" cannot be a row: it becomes part of a pipeline\'s id'
            yield own.error(at, message, 'letters, digits, "_" and "-"', key=True)
        elif row in KINDS:
            yield own.error(at, f'"{row}" is what another DAG of a pipeline is called', "rename the row", key=True)
        if not isinstance(values, Mapping):
            yield own.error(at, "expected a mapping of the row's values", f"write `{row}: {{}}` for a row without any")
            continue
        yield from _check_names(own, at)
        if ID in values:
            yield own.error((*at, ID), "`id` is the row's own name", "call the value otherwise", key=True)
