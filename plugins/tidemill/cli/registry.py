"""``tidemill history``, ``promote`` and ``rollback``: a model's story, and the registry by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.cli import history_decisions
from tidemill.cli.locate import UsageProblem, place_of
from tidemill.ledger import Entry, Ledger, LedgerError, open_ledger
from tidemill.platforms.local.connections import NoConnections
from tidemill.platforms.ports import Connections
from tidemill.project import Project, sqlite_url
from tidemill.spec.errors import suggest

if TYPE_CHECKING:
    from tidemill.plan.model import Plan
    from tidemill.records import Promotion
    from tidemill.tools.mlflow import Mlflow


def connections(project: Project) -> Connections:
    """Airflow's connections where the environment names any or an Airflow home, else none.

    They belong to the project's own state folder: another one that is named holds all of what it is about.
    """
    if project.state.resolve() != Project.of(project.root / "dags").state.resolve():
        return NoConnections()
    if "AIRFLOW_HOME" in os.environ or any(name.startswith("AIRFLOW_CONN_TIDEMILL_") for name in os.environ):
        from tidemill.airflow.connections import AirflowConnections

        return AirflowConnections()
    return NoConnections()


def ledger_of(project: Project) -> Ledger:
    """The ledger that the project's runs write to."""
    from tidemill.airflow.connections import LEDGER, url_of

    connection = connections(project).get(LEDGER)
    return open_ledger(url_of(connection) if connection else sqlite_url(project.state / "ledger.db"))


def mlflow_of(project: Project) -> Mlflow:
    """The registry that the project's runs write to."""
    from tidemill.cli.local_stack import LocalStack
    from tidemill.tools.mlflow import Mlflow, open_mlflow
    from tidemill.tools.mlflow_calls import CONNECTION

    known = connections(project)
    # While a server has the local store open, it is asked and not passed by.
    served = LocalStack.mlflow_up(project.state) if known.get(CONNECTION) is None else None
    return Mlflow(served, project) if served else open_mlflow(known, project)


def entries_of(ledger: Ledger, model: str) -> list[Entry]:
    """A model's entries.

    Raises:
        UsageProblem: the ledger does not know the model, or holds what cannot be read.
    """
    try:
        found = ledger.entries(model)
    except LedgerError as e:
        problems = [problem.text for problem in ledger.verify(model)]
        if not problems:
            raise
        raise UsageProblem(
            f"the ledger at {ledger.place} was altered: {' '.join(problems)} Restore it from a backup."
        ) from e
    if not found:
        models = ledger.models()
        near = suggest(model, models)
        hint = f'Did you mean "{near}"?' if near else f"Known models: {', '.join(models) or 'none yet'}."
        raise UsageProblem(f'the ledger at {ledger.place} has no model "{model}". {hint}')
    return found


def as_json(model: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """What ``tidemill history --json`` prints; ``docs/cli.md`` describes it."""
    from tidemill.ledger.views import champion

    in_force = champion(entries)
    return {
        "model": model,
        "champion": str(in_force.body["version"]) if in_force else None,
        "head": entries[-1].hash,
        "entries": [
            {
                "seq": e.seq,
                "kind": e.kind,
                "key": e.key,
                "as_of": _iso(e.as_of),
                "recorded_at": _iso(e.recorded_at),
                "body": dict(e.body),
                "hash": e.hash,
                "prev_hash": e.prev_hash,
            }
            for e in entries
        ],
    }


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None


def line_of(entry: Entry) -> tuple[str, str, str]:
    """An entry as a row: its date, what it is, what it says, as it is to be printed by rich."""
    from rich.markup import escape

    when = f"{entry.as_of:%Y-%m-%d %H:%M}".removesuffix(" 00:00") if entry.as_of else ""
    return when, entry.kind.replace("_", " "), escape(_SAYS.get(entry.kind, lambda body: "")(entry.body))


def _numbers(values: Any) -> str:
    return ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} –" for k, v in (values or {}).items())


_SAYS: dict[str, Callable[[Any], str]] = {
    "decision": history_decisions.line,
    "data_version": lambda b: (
        f"{b['version'][:12]}: {b['train']['rows']:,} rows to learn from, {b['holdout']['rows']:,} held out"
    ),
    "run": lambda b: f"run {b['run_id'][:8]} in {b['seconds']:.0f} s",
    "evaluation": lambda b: (
        _numbers(b["challenger"]["metrics"])
        + (f"  (champion {b['champion_version']}: {_numbers(b['champion']['metrics'])})" if b["champion"] else "")
    ),
    "cost": lambda b: (
        f"{history_decisions.money([b])} for {b['seconds']:.0f} s at {b['price']}"
        + (", and no model" if b["outcome"] == "failed" else "")
    ),
    "registered": lambda b: f"version {b['version']}",
    "promotion": lambda b: (
        f"{b['outcome']}{' version ' + b['version'] if b['version'] else ''}: {'; '.join(b['reasons'])}"
    ),
    "approval": lambda b: f"{b.get('answer', '')} by {b.get('by', '')}",
    "rollback": lambda b: f"from version {b['from_version']} to {b['to_version'] or 'none'} by {b['by']}",
    "scoring": lambda b: (
        f"version {b['version']}: {b['rows']:,} rows"
        + (f", {b['unscored']:,} of them without a score" if b["unscored"] else "")
        + f"; {b['path']}"
    ),
    "drift": lambda b: (
        "; ".join(b["why"]) or ("nothing to judge" if b["version"] is None else f"version {b['version']}: quiet")
    ),
}


def verify(ledger: Ledger, project: Project, model: str, alias: str) -> list[str]:
    """What is wrong with a model's chain, by the chain itself and by the head that the registry knows."""
    from tidemill.steps.champion import HEAD_TAG

    mlflow = mlflow_of(project)
    tagged = mlflow.alias(model, alias)
    head = mlflow.version_tags(model, tagged).get(HEAD_TAG) if tagged is not None else None
    return [problem.text for problem in ledger.verify(model, head)]


def plan_of_model(model: str, project: Project) -> Plan:
    """The plan of the pipeline that makes a model.

    Raises:
        UsageProblem: no sound spec of the project names the model.
    """
    from tidemill.cache import VerdictCache
    from tidemill.discovery import find

    dags = project.root / "dags"
    if not dags.is_dir():
        raise UsageProblem(f"there is no dags folder in {project.root}; run this in the project's folder")
    cache = VerdictCache(place_of(dags).project)
    for file, data in find(dags):
        for plan in cache.verdict(file, dags, data).plans:
            if plan.model == model:
                return plan
    raise UsageProblem(f'no sound spec below {dags} has the model "{model}"')


def promote(project: Project, plan: Plan, version: str, by: str, note: str) -> Promotion:
    """Put a version through its gate again, by hand."""
    from tidemill.ledger.installation import installation_id
    from tidemill.spec.models import Spec
    from tidemill.steps.promote import promote_by_hand
    from tidemill.tools.versions import open_versions

    spec = Spec.model_validate(plan.spec)
    with ledger_of(project) as ledger:
        stores = partial(
            open_versions,
            spec=spec,
            project=project,
            connections=connections(project),
            pipeline=plan.pipeline,
            installation=partial(installation_id, ledger),
        )
        return promote_by_hand(
            ledger,
            mlflow_of(project),
            stores,
            promote=spec.promote,
            pipeline=plan.pipeline,
            spec_hash=plan.spec_hash,
            model=plan.model,
            version=version,
            by=by,
            note=note,
        )


def rollback(project: Project, plan: Plan, to: str | None, by: str, note: str) -> Entry:
    """Go back to an earlier champion."""
    from tidemill.steps.champion import rollback as roll

    alias = plan.spec["promote"]["alias"]
    with ledger_of(project) as ledger:
        return roll(ledger, mlflow_of(project), model=plan.model, alias=alias, by=by, to=to, note=note)


def state_project(project: Project, state: Path | None) -> Project:
    """The project, with another state folder if one was named."""
    return project if state is None else Project(project.root, state.resolve())
