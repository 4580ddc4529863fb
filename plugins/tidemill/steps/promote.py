"""The last step of a training: what becomes of the new version, decided once and recorded in the ledger.

The ledger decides who is champion, by compare-and-swap: of two runs that beat the same champion one wins, and
the other is superseded. The registry's alias follows (champion.py), so that it is never on a version which
did not pass its gate, whenever the process is killed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from tidemill.ledger import Entry, HeadMoved, KeyConflict
from tidemill.ledger.views import APPROVAL, EVALUATION, PROMOTION, REGISTERED, champion, latest_as_of
from tidemill.records import Approval, DataVersion, Evaluation, ModelVersion, Outcome, Promotion, Run
from tidemill.spec.units import format_instant
from tidemill.steps.champion import check_ledger, is_change, repair_alias, version_of
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import Stores, last, protect_champion, stores_of
from tidemill.steps.gate import Verdict, judge
from tidemill.steps.ledger_io import append_once, envelope_of, read

if TYPE_CHECKING:
    from tidemill.ledger import Ledger
    from tidemill.spec.models import Promote
    from tidemill.tools.mlflow import Mlflow


@dataclass(frozen=True)
class Challenger:
    """A registered version before its gate. ``extra`` goes into the ledger beside the promotion;
    ``data_problem`` says how its data version has changed since."""

    version: ModelVersion
    evaluation: Evaluation
    as_of: datetime
    approval: Approval | None
    data_problem: str | None
    extra: Mapping[str, Any]


def run(ctx: StepContext) -> Promotion:
    """Promote, refuse or supersede the run's model version; a retry finds what was decided.

    Raises:
        StepError: the approval is manual and there is no answer; the ledger was altered; the registry or the
            ledger cannot be reached (``retry``).
    """
    from tidemill.tools.mlflow import open_mlflow

    stores = stores_of(ctx)
    version = ctx.result(ModelVersion)
    mlflow, alias = open_mlflow(ctx.connections, ctx.project), ctx.spec.promote.alias
    ctx.links["mlflow"] = mlflow.version_link(ctx.model, version.version) or ""
    with ctx.open_ledger() as ledger:
        check_ledger(ledger, mlflow, ctx.model, alias)
        repair_alias(ledger, mlflow, ctx.model, alias)  # of a run that was killed between ledger and alias
        entry = ledger.find(ctx.model, _key(version.version))
        if entry is None:
            approval = _approval(ctx, version)
            if approval is not None:
                _record_approval(ledger, ctx, version, approval)
            challenger = Challenger(
                version=version,
                evaluation=ctx.result(Evaluation),
                as_of=ctx.as_of.instant,
                approval=approval,
                data_problem=_data_problem(stores, last(ledger.entries(ctx.model), version.data_version), version),
                extra={**envelope_of(ctx), "code_version": ctx.result(Run).code_version},
            )
            entry = settle(ledger, challenger, ctx.spec.promote, key=_key(version.version))
            repair_alias(ledger, mlflow, ctx.model, alias)
        entries = ledger.entries(ctx.model)
    protect_champion(stores, entries, ctx.log)
    promotion = read(entry, Promotion)
    ctx.log.info("version %s %s: %s", promotion.version, promotion.outcome, "; ".join(promotion.reasons))
    return promotion


def promote_by_hand(
    ledger: Ledger,
    mlflow: Mlflow,
    stores: Stores,
    *,
    promote: Promote,
    pipeline: str,
    spec_hash: str,
    model: str,
    version: str,
    by: str,
    note: str = "",
) -> Promotion:
    """Put a registered version through the gate again, on the evaluation that was recorded for it.

    The same gate and the same log as in a run: ``by`` stands as the one who approved, the ``as_of`` is that of
    the version's training, and whatever comes out is recorded.

    Raises:
        StepError: the version is not in the ledger, was not evaluated, is the champion or was champion before
            (that is a rollback); the ledger was altered.
    """
    check_ledger(ledger, mlflow, model, promote.alias)
    repair_alias(ledger, mlflow, model, promote.alias)
    entries = ledger.entries(model)
    _check_by_hand(model, version, entries)
    registered = _registered(model, version, entries)
    found = read(registered, ModelVersion)
    trained = next((e for e in entries if e.kind == "run" and e.body.get("run_id") == found.run_id), None)
    assert registered.as_of is not None  # every step records at its run's as_of
    challenger = Challenger(
        version=found,
        evaluation=_evaluation(model, found, entries),
        as_of=registered.as_of,
        approval=Approval(answer="Approve", by=by, at=datetime.now(UTC), note=note),
        data_problem=_data_problem(stores, last(entries, found.data_version), found),
        extra={
            "dag_id": registered.body.get("dag_id"),
            "dag_run": registered.body.get("dag_run"),
            "pipeline": pipeline,
            "spec_hash": spec_hash,
            "code_version": trained.body.get("code_version") if trained else None,
            "by_hand": True,
        },
    )
    entry = settle(ledger, challenger, promote, key=None)
    repair_alias(ledger, mlflow, model, promote.alias)
    protect_champion(stores, ledger.entries(model), logging.getLogger("tidemill"))
    return read(entry, Promotion)


def settle(ledger: Ledger, challenger: Challenger, promote: Promote, *, key: str | None) -> Entry:
    """Decide on the ledger as it stands and append the decision at that very place; returns the entry.

    If the ledger moved on meanwhile the decision is made anew, so that what it says was true when it was
    written. An entry of the same ``key`` is returned as it is.
    """
    verdict = judge(promote.when, challenger.evaluation)
    gate = {"refusals": verdict.refusals, "passes": verdict.passes, "notes": verdict.notes}
    model = challenger.version.model
    while True:  # each turn but the last means that another run got ahead, so this ends
        entries = ledger.entries(model)
        outcome, reasons = _outcome(challenger, verdict, entries)
        promotion = Promotion(
            model=model,
            version=challenger.version.version,
            outcome=outcome,
            reasons=reasons,
            champion_before=version_of(champion(entries)),
            data_version=challenger.version.data_version,
            approval=challenger.approval,
        )
        body = {**challenger.extra, "gate": gate, "training_run": challenger.version.run_id, **promotion.to_json()}
        head = entries[-1].hash if entries else None
        try:
            return ledger.append(model, PROMOTION, body, as_of=challenger.as_of, key=key, expect_head=head)
        except HeadMoved:
            continue
        except KeyConflict as conflict:  # another attempt of the same run was faster
            return conflict.existing


def _outcome(challenger: Challenger, verdict: Verdict, entries: Sequence[Entry]) -> tuple[Outcome, tuple[str, ...]]:
    overtaken = _overtaken(challenger, entries)
    if overtaken:
        return "superseded", overtaken
    approval = challenger.approval
    said = f": {approval.note}" if approval and approval.note else ""
    refusals = [*verdict.refusals]
    if challenger.data_problem:
        refusals.append(challenger.data_problem)
    if approval and approval.answer == "Reject":
        refusals.append(f"rejected by {approval.by}{said}")
    if refusals or not verdict.passed:
        return "refused", tuple(refusals)
    approved = [f"approved by {approval.by}{said}"] if approval else []
    return "promoted", (*verdict.passes, *approved, *verdict.notes)


def _overtaken(challenger: Challenger, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Why this version has nothing to be promoted over any more, if so."""
    now, reasons = version_of(champion(entries)), []
    # The last change may be a rollback, to a champion of an older as_of: what it undid stays undone.
    standing = latest_as_of(e for e in entries if is_change(e))
    if standing is not None and challenger.as_of < standing:
        reasons.append(
            f"as_of {format_instant(challenger.as_of)} is earlier than {format_instant(standing)}, since when "
            f"version {now} is champion: a newer champion is never replaced by an older run"
        )
    compared = challenger.evaluation.champion_version
    if compared != now:
        then = f"version {compared}" if compared else "no champion"
        by_now = f"version {now}" if now else "none"
        reasons.append(f"the champion changed since the evaluation: it was compared with {then}, now it is {by_now}")
    return tuple(reasons)


def _data_problem(stores: Stores, data: DataVersion | None, version: ModelVersion) -> str | None:
    from tidemill.tools.versions import DataChanged

    if data is None:
        return f"the ledger has no record of data version {version.data_version}"
    try:
        stores(data.backend).verify(data)
    except DataChanged as error:
        return f"the data version was read again: {error}"
    return None


def _approval(ctx: StepContext, version: ModelVersion) -> Approval | None:
    """A person's answer as Airflow's human-in-the-loop task returns it."""
    if ctx.spec.promote.approval == "automatic":
        return None
    answer = ctx.answer or {}
    chosen = list(answer.get("chosen_options") or ())
    if chosen not in (["Approve"], ["Reject"]):
        got = f"the answer was {chosen}" if chosen else "there is no answer"
        raise StepError(
            f"`approval: manual` needs Approve or Reject for version {version.version} of {ctx.model!r}, but {got}. "
            "Clear the task `approve` and answer it under Required Actions."
        )
    user, at = answer.get("responded_by_user"), answer.get("responded_at")
    name = (user.get("name") or user.get("id")) if isinstance(user, Mapping) else user
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime) and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    params = answer.get("params_input") or {}
    note = params.get("note") if isinstance(params, Mapping) else None
    return Approval(
        answer=cast(Any, chosen[0]),
        by=str(name or "nobody (the time to answer ran out)"),
        at=at if isinstance(at, datetime) else None,
        note=str(note or ""),
    )


def _record_approval(ledger: Ledger, ctx: StepContext, version: ModelVersion, approval: Approval) -> None:
    body = {
        **envelope_of(ctx),
        "version": version.version,
        "answer": approval.answer,
        "by": approval.by,
        "at": approval.at.astimezone(UTC).isoformat() if approval.at else None,
        "note": approval.note,
    }
    append_once(ledger, ctx, APPROVAL, body)


def _check_by_hand(model: str, version: str, entries: Sequence[Entry]) -> None:
    if version_of(champion(entries)) == version:
        raise StepError(f"Version {version} of {model!r} is the champion already.")
    if any(e.kind == PROMOTION and is_change(e) and str(e.body["version"]) == version for e in entries):
        raise StepError(
            f"Version {version} of {model!r} was champion before: go back to it with "
            f"`tidemill rollback {model} --to {version}`."
        )


def _registered(model: str, version: str, entries: Sequence[Entry]) -> Entry:
    known = {str(e.body.get("version")): e for e in entries if e.kind == REGISTERED}
    if version not in known:
        names = ", ".join(known) or "none"
        raise StepError(
            f"The ledger knows no version {version} of {model!r}; registered are: {names}. Only what a training of "
            "this project registered can be promoted."
        )
    return known[version]


def _evaluation(model: str, version: ModelVersion, entries: Sequence[Entry]) -> Evaluation:
    found = [e for e in entries if e.kind == EVALUATION and e.body.get("run_id") == version.run_id]
    if not found:
        raise StepError(
            f"Version {version.version} of {model!r} has no recorded evaluation, so no gate can judge it. Run the "
            "training again."
        )
    return read(found[-1], Evaluation)


def _key(version: str) -> str:
    return f"{PROMOTION}/{version}"
