"""The user's own steps as tasks and groups of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from tidemill.plan.compile import Typed
from tidemill.plan.graph import Graph, Node
from tidemill.plan.model import GroupPlan, StepPlan, TaskPlan, Value
from tidemill.spec.document import Path
from tidemill.spec.load import Sources
from tidemill.spec.reader import MAX_DEPTH
from tidemill.spec.steps import Callback, FunctionStep, Group, OperatorStep, Settings, Single, Teardown
from tidemill.spec.templates import Reference, alone, references, rewrite
from tidemill.spec.timing import AssetItem

_ON = ("on_execute", "on_success", "on_failure", "on_retry", "on_skipped")


class Names:
    """What the names of steps mean inside one group."""

    def __init__(self, graph: Graph, group: str | None) -> None:
        self._graph = graph
        self._group = group

    def task(self, reference: Reference) -> tuple[str, int] | None:
        """The id that a reference names, and how many of its parts say so."""
        for used in range(min(len(reference.parts), MAX_DEPTH), 0, -1):  # groups stand no deeper in each other
            found = self._graph.find(".".join(reference.parts[:used]), self._group)
            if found is not None:
                return found, used
        return None

    def value(self, value: Any) -> Value:
        """A value of the spec with its templates written out in full, and what stands alone as what it stands for."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: item if key in _MARKS else self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def _text(self, text: str) -> Value:
        reference = alone(text)
        if reference is not None and reference.name == "each" and len(reference.parts) == 1:
            return {"$each": reference.parts[0]}
        if reference is not None and reference.name == "steps" and (found := self.task(reference)):
            rest = reference.parts[found[1] :]
            if len(rest) <= 1:
                return {"$output": [found[0], rest[0] if rest else None]}
        return rewrite(text, self.task)


_MARKS = ("$function", "$object", "$timedelta", "$datetime")


def names_used(value: Any, path: Path) -> Iterator[tuple[Reference, Path, str]]:
    """The references in a value and its parts, each with its place and the text that holds it."""
    if isinstance(value, str):
        yield from ((reference, path, value) for reference in references(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from names_used(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from names_used(item, (*path, index))


def templated(node: Node) -> Iterator[tuple[Any, Path]]:
    """The values of a step in which templates may stand, each with its place."""
    step = node.step
    yield step.for_each, (*node.path, "for_each")
    if isinstance(step, OperatorStep | FunctionStep):
        yield step.with_, (*node.path, "with")
    if isinstance(step, FunctionStep):
        yield step.options, (*node.path, "options")


def connect(graph: Graph) -> None:
    """Put each step after the ones whose results it uses."""
    for node in sorted(graph.nodes.values(), key=lambda node: node.id):
        names = Names(graph, node.group)
        for value, path in templated(node):
            for reference, _, _ in names_used(value, path):
                if reference.name == "steps" and (found := names.task(reference)) and not holds(graph, found[0], node):
                    graph.depend(node.id, found[0])


def holds(graph: Graph, group: str, node: Node) -> bool:
    """Whether a node is, or stands in, the one that is named: nothing waits for itself."""
    at: str | None = node.id
    while at is not None:
        if at == group:
            return True
        at = graph.nodes[at].group
    return False


def task_of(node: Node, graph: Graph, sources: Sources, typed: Typed) -> TaskPlan:
    """The plan of one step."""
    step = node.step
    assert isinstance(step, OperatorStep | FunctionStep)
    names = Names(graph, node.group)
    file, line, _ = sources.place(node.path, key=True)

    def arguments(key: str, written: Mapping[str, Any]) -> dict[str, Value]:
        return {name: names.value(value) for name, value in typed.get((*node.path, key), written).items()}

    teardown = step.teardown
    own = StepPlan(
        target=step.python if isinstance(step, FunctionStep) else typed.get((*node.path, "operator"), step.operator),
        decorator=step.decorator if isinstance(step, FunctionStep) else None,
        arguments=arguments("with", step.with_),
        options=arguments("options", step.options) if isinstance(step, FunctionStep) else {},
        settings=_single(step, node.path, typed),
        expand=expand_of(node, names, typed),
        inlets=_assets(step.inlets, (*node.path, "inlets"), typed),
        outlets=_assets(step.outlets, (*node.path, "outlets"), typed),
        setup=step.setup,
        teardown=bool(teardown),
        of=_setups(teardown, node, graph) if teardown else (),
        fail_run=isinstance(teardown, Teardown) and teardown.fail_run,
    )
    return TaskPlan(node.id, "own", tuple(graph.upstream[node.id]), line, file, group=node.group, own=own)


def group_of(node: Node, graph: Graph, typed: Typed) -> GroupPlan:
    """The plan of one group."""
    step = node.step
    assert isinstance(step, Group)
    return GroupPlan(
        group_id=node.id,
        upstream=tuple(graph.upstream[node.id]),
        parent=node.group,
        prefix=step.prefix,
        defaults=settings_of(step.defaults, (*node.path, "defaults"), typed),
        expand=expand_of(node, Names(graph, node.group), typed),
        tooltip=step.tooltip or "",
        display_name=step.display_name or "",
    )


def expand_of(node: Node, names: Names, typed: Typed) -> Value:
    """What a step is repeated for."""
    if node.step.for_each is None:
        return None
    return names.value(typed.get((*node.path, "for_each"), node.step.for_each))


def _setups(teardown: bool | Teardown, node: Node, graph: Graph) -> tuple[str, ...]:
    if isinstance(teardown, Teardown) and teardown.of is not None:
        named = [teardown.of] if isinstance(teardown.of, str) else teardown.of
        return tuple(found for name in named if (found := graph.find(name, node.group)))
    before = (graph.nodes[name] for name in graph.upstream[node.id] if name in graph.nodes)
    return tuple(n.id for n in before if isinstance(n.step, Single) and n.step.setup)


def _single(step: Single, path: Path, typed: Typed) -> dict[str, Value]:
    settings = settings_of(step, path, typed)
    for name in ("task_display_name", "doc_md", "map_index_template", "params"):
        if (value := getattr(step, name)) is not None:
            settings[name] = value
    return settings


def settings_of(settings: Settings | None, path: Path, typed: Typed) -> dict[str, Value]:
    """Airflow's arguments of a task for what is set."""
    found: dict[str, Value] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name, None)
        if value is None:
            continue
        if name in _ON:
            found[f"{name}_callback"] = callbacks_of(value, (*path, name), typed)
        else:
            found[name] = {"$timedelta": value.total_seconds()} if isinstance(value, timedelta) else value
    return found


def callbacks_of(value: Callback | list[Callback], path: Path, typed: Typed) -> list[dict[str, Value]]:
    """The plan's form of what is called when something happens."""
    return [
        {"callback": one.callback, "notifier": one.notifier, "with": typed.get((*at, "with"), one.with_)}
        for at, one in each_of(value, path)
    ]


def each_of(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """One or many values, each with its place."""
    if isinstance(value, list):
        yield from (((*path, index), item) for index, item in enumerate(value))
    else:
        yield path, value


def _assets(items: list[AssetItem] | None, path: Path, typed: Typed) -> tuple[Value, ...]:
    return tuple(asset_of(item, at, typed) for at, item in each_of(items or [], path))


def asset_of(item: AssetItem, path: Path, typed: Typed) -> dict[str, Value]:
    """The plan's form of an asset, an alias, or a condition."""
    if isinstance(item, str):
        return {"asset": {"uri": item} if "://" in item else {"name": item}}
    if item.alias is not None:
        return {"alias": item.alias, **({"group": item.group} if item.group else {})}
    for key, parts in (("any", item.any), ("all", item.all)):
        if parts is not None:
            return {key: [asset_of(part, at, typed) for at, part in each_of(parts, (*path, key))]}
    asset: dict[str, Value] = {
        name: value for name in ("name", "uri", "group", "extra") if (value := getattr(item, name)) is not None
    }
    if item.watch:
        asset["watchers"] = [
            {"name": watcher.name, "trigger": watcher.trigger, "with": typed.get((*at, "with"), watcher.with_)}
            for at, watcher in each_of(item.watch, (*path, "watch"))
        ]
    return {"asset": asset}
