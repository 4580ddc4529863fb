"""What can be said about steps without knowing what they run: names, places, order, and what templates ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill import records
from tidemill.checks.timing import check_asset
from tidemill.plan.graph import BESIDE, CycleError, Graph, Node, after_of, in_order
from tidemill.plan.own import Names, holds, names_used, templated
from tidemill.plan.placing import full_graph, in_dag
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow
from tidemill.spec.steps import Group, Teardown
from tidemill.spec.templates import INTERVAL_NAMES, Reference, alone, problems

_MAX_ID = 250
"""Airflow keeps the id of a task in a column of this many characters."""

_MAX_LISTED = 20
"""Names of steps that a hint lists."""

_RECORDS: dict[str, type[records.Record]] = {
    "as_of": records.AsOf,
    "retrain": records.Decision,
    "data": records.DataVersion,
    "validate": records.Validation,
    "train": records.Run,
    "reference": records.Reference,
    "evaluate": records.Evaluation,
    "register": records.ModelVersion,
    "promote": records.Promotion,
    "score": records.Scoring,
    "partitions": records.Partitions,
    "sketch": records.SketchPart,
    "monitor": records.MonitorReport,
    "request": records.RetrainRequest,
}
"""What each stage's task returns; a test compares them with the steps."""


def check(spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """Every mistake in the structure of a spec's steps."""
    if not isinstance(spec, Spec) and not spec.steps:
        if not sources.merged.get("steps"):
            yield sources.error(("steps",), "there is nothing to do", "add a step, e.g. hello: {operator: …}", key=True)
        return
    if not spec.steps or (isinstance(spec, Spec) and None in (spec.data, spec.promote)):
        return
    graph = full_graph(spec)
    names = list(_names(spec, graph, sources))
    yield from names
    for node in graph.nodes.values():
        yield from _node(node, graph, spec, sources)
        if not node.is_group:
            yield from _rule(node, graph, spec, sources)
    if not names:
        yield from _order(spec, graph, sources)


def _names(spec: Workflow, graph: Graph, sources: Sources) -> Iterator[SpecError]:
    for missing in graph.missing:
        near = suggest(missing.name, missing.known)
        hint = f'did you mean "{near}"?' if near else f"there are: {_listed(missing.known) or 'no others'}"
        kind = next((kind for kind, stages in BESIDE.items() if missing.name in stages), None)
        if kind is not None and isinstance(spec, Spec) and not sources.wrote(kind):
            hint = f"add a section `{kind}:`"
        key = isinstance(missing.path[-1], str) and missing.path[-1] == missing.name
        message = f'there is no step "{missing.name}"'
        if missing.name == _own_name(missing.path):
            message, hint = f'"{missing.name}" cannot wait for itself', "name another step"
        yield sources.error(missing.path, message, hint, key=key)
    for node in graph.taken:
        stage = node.id in graph.upstream and node.id not in graph.nodes
        what = "a stage of the pipeline" if stage else "the id of another step"
        yield sources.error(node.path, f'"{node.id}" is {what}', "give it another name", key=True)
    for node in graph.nodes.values():
        if len(node.id) > _MAX_ID:
            yield sources.error(node.path, f"its id, {node.id[:40]}…, has more than {_MAX_ID} characters", key=True)
        elif node.id == "as_of":
            message = "`as_of` is what templates call the run's instant"
            yield sources.error(node.path, message, "give it another name", key=True)
        for name, path, outcome in after_of(node.step, node.path):
            if outcome is not None and graph.find(name, node.group) not in (None, "promote"):
                yield sources.error(path, f'"{name}" has no outcomes, only promote has', f"write `after: {name}`")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (", …" if len(names) > _MAX_LISTED else "")


def _own_name(path: Path) -> str:
    at = max(index for index, part in enumerate(path) if part in ("after", "before"))
    return str(path[at - 1])


def _order(spec: Workflow, graph: Graph, sources: Sources) -> Iterator[SpecError]:
    if isinstance(spec, Spec):
        for node in graph.nodes.values():
            if "as_of" in graph.upstream and node.id in graph.upstream["as_of"]:
                yield sources.error(
                    (*node.path, "before"), "nothing comes before as_of", "name a later stage", key=True
                )
                return
        wrong = _of_two(graph)
        if wrong is not None:
            node, kind, stage, other = wrong
            message = f"the step is part of the {kind}'s DAG, and \"{stage}\" of the {other}'s"
            yield sources.error(node.path, message, "make two steps of it", key=True)
            return
    try:
        in_order(graph)
    except CycleError as e:
        circle = [name for name in e.args[1] if name in graph.nodes]
        node = graph.nodes[min(circle)]
        chain = " → ".join(reversed(e.args[1]))
        yield sources.error(node.path, f"steps wait for each other: {chain}", "take one of these edges away", key=True)


def _of_two(graph: Graph) -> tuple[Node, str, str, str] | None:
    """A step next to stages of two DAGs: the step, its DAG, and the other's stage with its DAG."""
    stages = {stage for stage in graph.upstream if stage not in graph.nodes} - {"as_of"}
    kinds = {stage: next((k for k, names in BESIDE.items() if stage in names), "training") for stage in stages}
    for kind in BESIDE:
        for name in sorted(in_dag(graph, kind)):
            after = [other for other, upstream in graph.upstream.items() if name in upstream]
            for stage in (*graph.upstream[name], *after):
                if kinds.get(stage, kind) != kind:
                    return graph.nodes[name], kind, stage, kinds[stage]
    return None


def _node(node: Node, graph: Graph, spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    step = node.step
    for value, path in templated(node):
        for reference, at, text in names_used(value, path):
            yield from _reference(reference, at, text, node, graph, spec, sources)
    yield from _for_each(node, graph, sources)
    if isinstance(step, Group):
        return
    for key in ("inlets", "outlets"):
        for index, item in enumerate(getattr(step, key) or ()):
            yield from check_asset(item, (*node.path, key, index), sources, condition=False)
    if step.setup and step.teardown:
        yield sources.error((*node.path, "teardown"), "a step is a setup or a teardown", "make two of it", key=True)
    if step.teardown and step.trigger_rule is not None:
        message = "a teardown has its own trigger rule"
        yield sources.error((*node.path, "trigger_rule"), message, "remove it", key=True)
    if isinstance(step.teardown, Teardown):
        yield from _setups(step.teardown, node, graph, sources)
    for problem in problems(step.map_index_template or ""):
        yield sources.error((*node.path, "map_index_template"), problem.message, problem.hint)
    if step.map_index_template is not None and not _is_mapped(node, graph):
        message = "nothing is repeated here that would need a name"
        yield sources.error((*node.path, "map_index_template"), message, "add `for_each:`, or remove it", key=True)
    mapped = any(graph.nodes[group].step.for_each is not None for group in _around(node, graph))
    if mapped and step.trigger_rule == "always":
        message = "a step of a group that is repeated cannot run always"
        yield sources.error((*node.path, "trigger_rule"), message, "e.g. all_done")
    if step.trigger_rule == "always" and isinstance(step.for_each, Mapping | str) and _from_output(step.for_each):
        message = "a step that is repeated for another one's result cannot run always"
        yield sources.error((*node.path, "trigger_rule"), message, "e.g. all_done")


def _rule(node: Node, graph: Graph, spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """A trigger rule that Airflow does not take, of the step itself or by default."""
    rule, path = setting(node, "trigger_rule", graph, spec)
    if rule in (None, "all_success") or getattr(node.step, "teardown", False):
        return
    setup = next((n for n in graph.upstream[node.id] if getattr(_step(graph, n), "setup", False)), None)
    if setup is not None:
        message, hint = f'after the setup "{setup}" only all_success works', f"remove it, or `after: {setup}`"
        yield sources.error(path, message, hint, key=True)
    elif spec.fail_fast and rule != "all_done_setup_success":
        yield sources.error(path, "with `fail_fast` every step waits for success", "remove one of them", key=True)


def _step(graph: Graph, node: str) -> Any:
    return graph.nodes[node].step if node in graph.nodes else None


def setting(node: Node, name: str, graph: Graph, spec: Workflow) -> tuple[Any, Path]:
    """What holds for a step of a setting, and where it is written: its own, else its groups' or the file's default."""
    if (value := getattr(node.step, name)) is not None:
        return value, (*node.path, name)
    for group in _around(node, graph):
        value = getattr(getattr(graph.nodes[group].step, "defaults", None), name, None)
        if value is not None:
            return value, (*graph.nodes[group].path, "defaults", name)
    return getattr(spec.defaults, name, None), ("defaults", name)


def _from_output(value: Any) -> bool:
    return any(reference.name == "steps" for reference, _, _ in names_used(value, ()))


def _setups(teardown: Teardown, node: Node, graph: Graph, sources: Sources) -> Iterator[SpecError]:
    if teardown.of is None:
        return
    several = isinstance(teardown.of, list)
    for index, name in enumerate(teardown.of if isinstance(teardown.of, list) else [teardown.of]):
        path: Path = (*node.path, "teardown", "of", index) if several else (*node.path, "teardown", "of")
        found = graph.find(name, node.group)
        if found is None or found == node.id:
            known = graph.known(node.group)
            near = suggest(name, known)
            hint = f'did you mean "{near}"?' if near else f"there are: {_listed(known)}"
            yield sources.error(path, f'there is no step "{name}"', hint)
        elif found not in graph.nodes or not getattr(graph.nodes[found].step, "setup", False):
            yield sources.error(path, f'"{name}" is no setup', f"add `setup: true` to {name}")


def _is_mapped(node: Node, graph: Graph) -> bool:
    return node.step.for_each is not None or any(graph.nodes[g].step.for_each is not None for g in _around(node, graph))


def _around(node: Node, graph: Graph) -> Iterator[str]:
    at = node.group
    while at is not None:
        yield at
        at = graph.nodes[at].group


def _for_each(node: Node, graph: Graph, sources: Sources) -> Iterator[SpecError]:
    step, path = node.step, (*node.path, "for_each")
    given = step.for_each
    if given is None:
        return
    around = next((group for group in _around(node, graph) if graph.nodes[group].step.for_each is not None), None)
    if around is not None:
        hint = "go through both in the group: each with each"
        yield sources.error(path, f'"{around}" around it is repeated already', hint, key=True)
        return
    hint = "a list, a mapping, or {{ steps.NAME }}"
    if isinstance(given, str):
        reference = alone(given)
        if reference is None or reference.name != "steps" or not reference.parts:
            yield sources.error(path, f'expected the result of a step, got "{given[:60]}"', "{{ steps.NAME }}")
        else:
            yield from _whole(reference, path, node, graph, sources)
        return
    if isinstance(given, list):
        keys = {frozenset(item) for item in given}
        if len(keys) > 1:
            yield sources.error(path, "each of the mappings must have the same keys", "they are arguments of one step")
        return
    if (
        isinstance(step, Group)
        and len(given) > 1
        and any(not isinstance(v, list | Mapping | str) for v in given.values())
    ):
        yield sources.error(path, "expected lists", hint)
    for name, value in given.items():
        at = (*path, name)
        if isinstance(value, str):
            reference = alone(value)
            if reference is None or reference.name != "steps" or not reference.parts:
                yield sources.error(at, f'expected something to go through, got the text "{value[:60]}"', hint)
            else:
                yield from _whole(reference, at, node, graph, sources)
        elif not isinstance(value, list | Mapping):
            yield sources.error(at, "expected something to go through", hint)
        elif not value:
            yield sources.error(at, "there is nothing to go through", hint)


def _whole(reference: Reference, path: Path, node: Node, graph: Graph, sources: Sources) -> Iterator[SpecError]:
    """Airflow counts what a step returned as a whole, not what is in it."""
    found = Names(graph, node.group).task(reference)
    if found is not None and reference.parts[found[1] :]:
        message = f"only the whole result of a step can be gone through, not its {reference.parts[found[1]]}"
        yield sources.error(
            path, message, f"let a step return it alone: {{{{ steps.{'.'.join(reference.parts[: found[1]])} }}}}"
        )


def _reference(
    reference: Reference, path: Path, text: str, node: Node, graph: Graph, spec: Workflow, sources: Sources
) -> Iterator[SpecError]:
    if reference.name in INTERVAL_NAMES:
        if isinstance(spec, Spec) or _without_interval(spec):
            yield sources.error(
                path, f"`{reference.name}` is undefined in runs without an interval", "write {{ as_of }}"
            )
    elif reference.name == "each":
        yield from _each(reference, path, text, node, graph, sources)
    elif reference.name == "steps":
        yield from _result(reference, path, node, graph, spec, sources)


def _without_interval(spec: Workflow) -> bool:
    """Whether runs of a workflow may have no logical date: those that assets start."""
    return getattr(spec.schedule, "assets", None) is not None


def _each(
    reference: Reference, path: Path, text: str, node: Node, graph: Graph, sources: Sources
) -> Iterator[SpecError]:
    known: list[str] = []
    for group in _around(node, graph):
        given = graph.nodes[group].step.for_each
        if isinstance(given, Mapping):
            known += given
        elif isinstance(given, list):
            known += [key for item in given for key in item]
        elif given is not None:
            return  # known when the run knows what it goes through
    if len(reference.parts) != 1 or reference.parts[0] not in known:
        name = ".".join(reference.parts) or "each"
        near = suggest(name, known)
        hint = f'did you mean "{near}"?' if near else f"there are: {_listed(known)}" if known else "add it to a group"
        yield sources.error(path, f'no group around goes through "{name}"', hint)
    elif alone(text) is None:
        hint = "give it to a function or operator by itself, and put the text together there"
        yield sources.error(path, f"`each.{reference.parts[0]}` must stand alone", hint)


def _result(
    reference: Reference, path: Path, node: Node, graph: Graph, spec: Workflow, sources: Sources
) -> Iterator[SpecError]:
    found = Names(graph, node.group).task(reference)
    if found is None:
        known = graph.known(node.group)
        name = reference.dashed or ".".join(reference.parts[:1])
        if reference.dashed and graph.find(reference.dashed, node.group):
            hint = f"write steps['{reference.dashed}']: Jinja takes the dash for a minus"
            yield sources.error(path, f'"{reference.dashed}" has a dash', hint)
            return
        near = suggest(name, known)
        hint = f'did you mean "{near}"?' if near else f"there are: {_listed(known) or 'none'}"
        yield sources.error(path, f'there is no step "{name}"' if name else "`steps` needs a step's name", hint)
        return
    step, used = found
    rest = reference.parts[used:]
    if holds(graph, step, node):
        yield sources.error(path, f'"{step}" has no result before it has run', "name a step that comes before")
    elif step in graph.nodes and graph.nodes[step].is_group:
        inside = [member.id for member in graph.members(step)]
        yield sources.error(path, f'"{step}" is a group, and has no result', f"name one of {', '.join(inside)}")
    elif step in graph.nodes and setting(graph.nodes[step], "do_xcom_push", graph, spec)[0] is False:
        hint = f"write `do_xcom_push: true` in {step}"
        yield sources.error(path, f'"{step}" keeps no result: do_xcom_push is false', hint)
    elif step in _RECORDS and step not in graph.nodes and rest:
        fields = [field.name for field in dataclasses.fields(_RECORDS[step])]
        if rest[0] not in fields:
            near = suggest(rest[0], fields)
            hint = f'did you mean "{near}"?' if near else f"it has: {', '.join(fields)}"
            yield sources.error(path, f'the result of {step} has no "{rest[0]}"', hint)
