"""Which steps there are, what their names mean where, and what comes before what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from itertools import groupby

from tidemill.spec.document import Path
from tidemill.spec.errors import MAX_ERRORS
from tidemill.spec.steps import FunctionStep, Group, OperatorStep, Placed

Step = OperatorStep | FunctionStep | Group

BESIDE = {"score": ("score",), "monitor": ("partitions", "sketch", "monitor", "request")}
"""The stages of the DAGs beside the training, by kind: whoever stands next to one of these belongs to its DAG."""


@dataclass(frozen=True)
class Node:
    """A step or group: its id in the DAG, where it is written, and the group it stands in."""

    id: str
    path: Path
    step: Step
    group: str | None

    @property
    def is_group(self) -> bool:
        """Whether it holds others."""
        return isinstance(self.step, Group)


@dataclass(frozen=True)
class Missing:
    """A name that leads nowhere: where it is written, and what there is instead."""

    path: Path
    name: str
    known: tuple[str, ...]


@dataclass
class Graph:
    """The nodes by id, with those right before each; the names that were not found, and the nodes left out since
    their id is another one's.

    ``scopes``: group (``None`` for the top) → name → id. ``outcomes``: node → the outcome of ``promote`` it asks for.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    upstream: dict[str, list[str]] = field(default_factory=dict)
    scopes: dict[str | None, dict[str, str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    taken: list[Node] = field(default_factory=list)

    def find(self, name: str, group: str | None) -> str | None:
        """The id that a name means inside a group: a sibling, else one further out; dots lead into groups."""
        first, *rest = name.split(".")
        while True:
            found = self.scopes.get(group, {}).get(first)
            if found is not None:
                return self._inside(found, rest)
            if group is None:
                return None
            group = self.nodes[group].group

    def members(self, group: str) -> Iterator[Node]:
        """The tasks inside a group, at any depth."""
        for node in self.nodes.values():
            if node.group == group:
                if node.is_group:
                    yield from self.members(node.id)
                else:
                    yield node

    def known(self, group: str | None) -> tuple[str, ...]:
        """The names that can be used inside a group, the nearest first."""
        names: dict[str, None] = {}
        while True:
            names.update(dict.fromkeys(self.scopes.get(group, {})))
            if group is None:
                return tuple(names)
            group = self.nodes[group].group

    def depend(self, node: str, on: str) -> None:
        """Put a node after another one."""
        if on not in self.upstream.setdefault(node, []):
            self.upstream[node].append(on)

    def _inside(self, found: str, rest: list[str]) -> str | None:
        for part in rest:
            inner = self.scopes.get(found, {}).get(part)
            if inner is None:
                return None
            found = inner
        return found


def graph_of(steps: Mapping[str, Step], stages: Mapping[str, tuple[str, ...]]) -> Graph:
    """The graph of a file's steps and of the stages (name → those before it) among which they stand."""
    graph = Graph(scopes={None: {name: name for name in stages}})
    graph.upstream = {name: list(before) for name, before in stages.items()}
    _collect(steps, ("steps",), None, "", graph)
    for node in sorted(graph.nodes.values(), key=lambda node: node.id):
        _place(node, graph)
    return graph


def _collect(steps: Mapping[str, Step], path: Path, group: str | None, prefix: str, graph: Graph) -> None:
    for name, step in steps.items():
        node = Node(prefix + name, (*path, name), step, group)
        if node.id in graph.upstream:
            graph.taken.append(node)
            continue
        graph.nodes[node.id] = node
        graph.scopes.setdefault(group, {})[name] = node.id
        graph.upstream.setdefault(node.id, [])
        if isinstance(step, Group):
            inner = f"{node.id}." if step.prefix else ""  # as Airflow does: not even the outer groups' names
            _collect(step.steps, (*node.path, "steps"), node.id, inner, graph)


def _place(node: Node, graph: Graph) -> None:
    for name, path, outcome in after_of(node.step, node.path):
        found = graph.find(name, node.group)
        if found is None or found == node.id:
            graph.missing.append(Missing(path, name, _others(graph, node)))
            continue
        graph.depend(node.id, found)
        if found == "promote":
            graph.outcomes[node.id] = outcome or "promoted"
    for name, path in _listed(node.step.before, (*node.path, "before")):
        found = graph.find(name, node.group)
        if found is None or found == node.id:
            graph.missing.append(Missing(path, name, _others(graph, node)))
        else:
            graph.depend(found, node.id)


def _others(graph: Graph, node: Node) -> tuple[str, ...]:
    own = node.path[-1]
    if len(graph.missing) >= MAX_ERRORS:
        return ()
    return tuple(name for name in graph.known(node.group) if name != own)


def after_of(step: Placed, path: Path) -> Iterator[tuple[str, Path, str | None]]:
    """The names below ``after`` with their places, and the outcome asked for."""
    if isinstance(step.after, Mapping):
        for name, outcome in step.after.items():
            yield name, (*path, "after", name), outcome
    else:
        for name, at in _listed(step.after, (*path, "after")):
            yield name, at, None


def _listed(names: str | list[str] | None, path: Path) -> Iterator[tuple[str, Path]]:
    if isinstance(names, str):
        yield names, path
    else:
        yield from ((name, (*path, index)) for index, name in enumerate(names or ()))


def in_order(graph: Graph) -> list[str]:
    """The ids of all tasks and stages, each after those it waits for; what depends on a group waits for its members,
    what a group waits for comes before them. The order in which a file names them does not matter.

    Raises:
        CycleError: nodes wait for each other in a circle; its second argument names them.
    """
    sorter = _sorter(graph)
    try:
        sorter.prepare()
    except CycleError as e:
        raise CycleError(e.args[0], [name for name, _ in groupby(name for _, name in e.args[1])]) from None
    rank = {name: index for index, name in enumerate(n for n in graph.upstream if n not in graph.nodes)}
    ready: list[tuple[int, str]] = []
    order = []
    while sorter.is_active():
        while found := sorter.get_ready():
            for end, name in found:
                if end:
                    sorter.done((end, name))
                else:
                    heappush(ready, (rank.get(name, len(rank)), name))
        if ready:
            _, name = heappop(ready)
            order.append(name)
            sorter.done(("", name))
    return order


def _sorter(graph: Graph) -> TopologicalSorter[tuple[str, str]]:
    # A group is its two ends, between which its members stand: an edge for each pair of members could be millions.
    sorter: TopologicalSorter[tuple[str, str]] = TopologicalSorter()

    def end(node: str, which: str) -> tuple[str, str]:
        return (which if node in graph.nodes and graph.nodes[node].is_group else "", node)

    for node, before in graph.upstream.items():
        first, last = end(node, "begin"), end(node, "end")
        sorter.add(first, *(end(other, "end") for other in before))
        if first != last:
            sorter.add(last, first)
        group = graph.nodes[node].group if node in graph.nodes else None
        if group is not None:
            sorter.add(first, ("begin", group))
            sorter.add(("end", group), last)
    return sorter


def component(graph: Graph, start: Iterable[str]) -> set[str]:
    """Every top-level node that is connected with some of the steps, whichever way; stages connect nothing."""
    neighbours: dict[str, set[str]] = {}
    for node, before in graph.upstream.items():
        for other in before:
            a, b = _top(node, graph), _top(other, graph)
            neighbours.setdefault(a, set()).add(b)
            neighbours.setdefault(b, set()).add(a)
    found: set[str] = set()
    open_ends = list(start)
    while open_ends:
        node = open_ends.pop()
        if node in found:
            continue
        found.add(node)
        if node in graph.nodes:
            open_ends.extend(neighbours.get(node, ()))
    return found


def _top(node: str, graph: Graph) -> str:
    while node in graph.nodes and (group := graph.nodes[node].group) is not None:
        node = group
    return node


__all__ = ["CycleError", "Graph", "Missing", "Node", "component", "graph_of", "in_order"]
