"""The steps of a file among the stages of its DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidemill.plan.compile import Typed, monitor_stages, score_stages, training_stages
from tidemill.plan.graph import BESIDE, Graph, Node, component, graph_of, in_order
from tidemill.plan.model import DagPlan, Kind
from tidemill.plan.own import connect, group_of, task_of
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow


def full_graph(spec: Workflow) -> Graph:
    """The graph of a file's steps among the stages of all of its DAGs."""
    stages = {}
    if isinstance(spec, Spec):
        stages = {
            name: before for name, before, _ in (*score_stages(spec), *monitor_stages(spec), *training_stages(spec))
        }
    graph = graph_of(spec.steps or {}, stages)
    connect(graph)
    if isinstance(spec, Spec):
        beside = {id for kind in BESIDE for id in in_dag(graph, kind)}
        for node in graph.nodes.values():
            if not graph.upstream[node.id] and node.group is None:
                # Nothing of a run happens before it knows its instant, nor where the guard says no.
                graph.depend(
                    node.id, "as_of" if node.id in beside or _leads_to(graph, node.id, "retrain") else "retrain"
                )
    return graph


def _leads_to(graph: Graph, node: str, stage: str) -> bool:
    """Whether a stage waits for a step."""
    open_ends, seen = list(graph.upstream[stage]), set()
    while open_ends:
        at = open_ends.pop()
        if at == node:
            return True
        if at not in seen:
            seen.add(at)
            open_ends.extend(graph.upstream.get(at, ()))
    return False


def in_dag(graph: Graph, kind: str) -> set[str]:
    """The steps that belong to a DAG beside the training: those connected with its stages, and what is inside them."""
    top = component(graph, (n for stage in BESIDE[kind] for n in _beside(graph, stage)))
    return {id for id, node in graph.nodes.items() if _outermost(graph, id) in top}


def _beside(graph: Graph, stage: str) -> Iterator[str]:
    yield from (_outermost(graph, name) for name in graph.upstream.get(stage, ()) if name in graph.nodes)
    yield from (
        _outermost(graph, name) for name, before in graph.upstream.items() if stage in before and name in graph.nodes
    )


def _outermost(graph: Graph, node: str) -> str:
    while (group := graph.nodes[node].group) is not None:
        node = group
    return node


def groups_of(graph: Graph) -> list[Node]:
    """The groups, from the outside in."""
    return sorted((n for n in graph.nodes.values() if n.is_group), key=lambda n: (len(n.path), n.id))


def followers_of(graph: Graph) -> dict[str, list[str]]:
    """The tasks right after ``promote``, by the outcome they follow; those of a group are its first ones."""
    found: dict[str, list[str]] = {}
    for node, outcome in sorted(graph.outcomes.items()):
        tasks = [node]
        if graph.nodes[node].is_group:
            inside = {member.id for member in graph.members(node)}
            tasks = [name for name in inside if inside.isdisjoint(graph.upstream[name])]
        found.setdefault(outcome, []).extend(sorted(tasks))
    return found


def _own(graph: Graph, kind: Kind) -> set[str]:
    if kind in BESIDE:
        return in_dag(graph, kind)
    beside = {id for other in BESIDE for id in in_dag(graph, other)} if kind == "training" else set()
    return set(graph.nodes) - beside


def placed(plan: DagPlan, graph: Graph, sources: Sources, typed: Typed) -> DagPlan:
    """A DAG of stages with the steps that belong to it."""
    own = _own(graph, plan.kind)
    stages = {task.task_id: task for task in plan.tasks}
    tasks = []
    for name in in_order(graph):
        if name in own:
            tasks.append(task_of(graph.nodes[name], graph, sources, typed))
        elif name in stages:
            upstream = tuple(n for n in graph.upstream[name] if n in own or n in stages)
            followers = followers_of(graph) if name == "promote" else {}
            tasks.append(replace(stages[name], upstream=upstream, followers=followers))
    groups = tuple(group_of(node, graph, typed) for node in groups_of(graph) if node.id in own)
    return replace(plan, tasks=tuple(tasks), groups=groups)
