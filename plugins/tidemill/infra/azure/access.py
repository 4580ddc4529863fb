"""Who may do what: custom roles for those that Airflow's connections sign as, one for each step, and for jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tidemill.infra.azure.base import Azure, addresses, registry_of, workspace_of, written
from tidemill.infra.azure.rights import BLOBS, ML, STORAGE, Right, Role, definition, reference, united
from tidemill.infra.hcl import Raw, Value
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Asked, Pipeline
from tidemill.infra.root import Made, comment

_ROLE: Final = Limit("a role's name", 512)
""""Azure custom roles", of the documentation of Azure RBAC, November 2026."""
_SUBMIT: Final = (
    "computes/read", "environments/read", "environments/write", "environments/build/action",
    "environments/readSecrets/action", "metadata/artifacts/write",
)  # fmt: skip

Scopes = Iterator[tuple[str, str]]


def train(pipeline: Pipeline) -> Iterator[Right]:
    """The task train: brings files, submits, looks, fetches."""
    jobs = ("jobs/read", "jobs/write")
    environments = () if str(pipeline.spec.train.image).startswith("azureml:") else ("environments/versions/write",)
    yield Right(_of_ml(*jobs, *environments), _files())
    yield Right(
        _of_ml(*_SUBMIT),
        reason="Clusters, environments and their build, artifacts: what Azure ML asks of whoever submits a job, "
        'besides the call itself. Its "Manage access to Azure Machine Learning workspaces" names these, and more.',
    )
    yield from wait(pipeline)


def wait(pipeline: Pipeline) -> Iterator[Right]:
    """The triggerer while the task waits, and whoever ends the job with its task."""
    yield Right((f"{ML}/read", *_of_ml("jobs/read", "jobs/cancel/action", "experiments/runs/read")))


def track(pipeline: Pipeline) -> Iterator[Right]:
    """The training written to the run of its job, over the workspace's MLflow, in the task train."""
    experiments = ("experiments/read", "experiments/write", "experiments/runs/read", "experiments/runs/write")
    yield Right((f"{ML}/read", *_of_ml(*experiments)))


def versions(pipeline: Pipeline) -> Iterator[Right]:
    """The data versions in the container: kept by the task data, read by those that need the rows."""
    # What an account without versions took is removed again.
    yield Right(data=(*_files(), f"{BLOBS}/delete"))


def lifecycle(pipeline: Pipeline) -> Iterator[Right]:
    """The end of data versions: rules in the one policy that an account has."""
    if pipeline.spec.data.keep is not None:
        policy = tuple(f"{STORAGE}/managementPolicies/{verb}" for verb in ("delete", "read", "write"))
        yield Right((f"{STORAGE}/read", *policy))


def find(pipeline: Pipeline) -> Iterator[Right]:
    """The account of data versions looked for in the resource group first, where it need not be."""
    if pipeline.spec.data.keep is not None and "bucket" in pipeline.existing:
        yield Right((f"{STORAGE}/read",))


def jobs(pipeline: Pipeline) -> Iterator[Right]:
    """What jobs run as: code, data and the job's own file are read, outputs and checkpoints written, by mounts."""
    yield Right(
        data=(*_files(), f"{BLOBS}/add/action", f"{BLOBS}/delete", f"{BLOBS}/move/action"),
        reason="add, delete, move: a mount is Azure ML's own, and makes, removes and renames files as the job does.",
    )
    if registry_of(pipeline):
        yield Right(("Microsoft.ContainerRegistry/registries/pull/read",))


def _files() -> tuple[str, ...]:
    return (f"{BLOBS}/read", f"{BLOBS}/write")


def _of_ml(*actions: str) -> tuple[str, ...]:
    return tuple(f"{ML}/{action}" for action in actions)


def _workspace(azure: Azure, pipeline: Pipeline) -> Scopes:
    name = workspace_of(pipeline)
    yield f"workspace {name}", azure.workspaces[name]


def _containers(azure: Azure, pipeline: Pipeline, *keys: str) -> Scopes:
    for key, at in addresses(pipeline):
        if not keys or key in keys:
            container = f"{azure.accounts[at.account]}/blobServices/default/containers/{at.container}"
            yield f"container {at.account}/{at.container}", container


def _train_at(azure: Azure, pipeline: Pipeline) -> Scopes:
    yield from _workspace(azure, pipeline)
    yield from _bucket(azure, pipeline)


def _bucket(azure: Azure, pipeline: Pipeline) -> Scopes:
    yield from _containers(azure, pipeline, "platform.bucket")


def _account(azure: Azure, pipeline: Pipeline) -> Scopes:
    for key, at in addresses(pipeline):
        if key == "platform.bucket":
            yield f"account {at.account}", azure.accounts[at.account]


def _group(azure: Azure, pipeline: Pipeline) -> Scopes:
    yield "resource group", azure.group_id


def _jobs_at(azure: Azure, pipeline: Pipeline) -> Scopes:
    yield from _containers(azure, pipeline)
    registry = registry_of(pipeline)
    if registry:
        yield f"registry {registry}", azure.registries[registry]


_Maker = Callable[[Pipeline], Iterator[Right]]
_Places = Callable[[Azure, Pipeline], Scopes]
_STEPS: Final[tuple[tuple[str, str, _Maker, _Places], ...]] = (
    ("train", "train", train, _train_at),
    ("wait", "train", wait, _workspace),
    ("track", "track", track, _workspace),
    ("versions", "versions", versions, _bucket),
    ("lifecycle", "versions", lifecycle, _account),
    ("find", "versions", find, _group),
)
"""Name of the role, the task of a pipeline that needs it, its rights, and where they hold."""


def grant(azure: Azure) -> None:
    """Everybody's rights."""
    azure.root.variable(
        "airflow_principals", "set(string)",
        "Object ids of the service principals or identities that Airflow's connections sign as: they get the roles of "
        "the steps.",
        [],
    )  # fmt: skip
    for found in azure.needs.named("platform.connection", lambda p: p.connection):
        label = azure.root.label("airflow", found.name, found.asked)
        roles: dict[str, Value] = {}
        for step, task, make, at in _STEPS:
            users = [p for p in found.users if task in p.tasks]
            role = _role(azure, f"{found.name} {step}", make, at, users)
            if role.rights:
                _give(azure, f"{label}_{step}", role, _PRINCIPALS, found.asked)
                roles[step] = reference(f"{label}_{step}")
        told = f"The roles for who the connection {found.name} signs as, by step."
        azure.root.output(f"{label}_roles", roles, told)
    _jobs(azure)


_PRINCIPALS: Final = Raw("{ for id in var.airflow_principals : id => id }")


def _jobs(azure: Azure) -> None:
    """The one role of jobs, given to everybody that jobs run as, each where its pipelines keep their files."""
    named: dict[str, list[Pipeline]] = {}
    ids: dict[str, str] = {}
    for pipeline in azure.needs.pipelines:
        for principal, expression in azure.principals[pipeline.name].items():
            named.setdefault(principal, []).append(pipeline)
            ids[principal] = expression
    users = [p for p in azure.needs.pipelines if "train" in p.tasks]
    role = _role(azure, "jobs", jobs, _jobs_at, users)
    asked = tuple(pipeline.asked("platform.bucket") for pipeline in users)
    if not users:
        return
    _define(azure, "jobs", role, asked)
    for principal, pipelines in sorted(named.items()):
        places = tuple(sorted({place for p in pipelines for place in _jobs_at(azure, p)}))
        who = Raw(ids[principal]) if ids[principal].startswith("{") else {principal: Raw(ids[principal])}
        made = Made("rights of jobs", principal, asked)
        label = azure.root.label("jobs", principal, asked)
        _assign(azure, label, reference("jobs"), who, places, made)
        azure.root.policies[label] = Role("jobs", role.told, role.rights, places)


def _role(azure: Azure, name: str, make: _Maker, at: _Places, users: list[Pipeline]) -> Role:
    rights = united(right for pipeline in users for right in make(pipeline))
    places = sorted({place for pipeline in users if any(make(pipeline)) for place in at(azure, pipeline)})
    return Role(name, " ".join((make.__doc__ or "").split()), rights, tuple(places))


def _give(azure: Azure, label: str, role: Role, who: Value, asked: tuple[Asked, ...]) -> None:
    _define(azure, label, role, asked)
    azure.root.policies[label] = role
    _assign(azure, label, reference(label), who, role.scopes, Made("role", f"{azure.prefix} {role.name}", asked))


def _define(azure: Azure, label: str, role: Role, asked: tuple[Asked, ...]) -> None:
    checked(f"{azure.prefix} {role.name}", _ROLE, asked)
    azure.root.access.append(definition(label, role, f"{role.told}\n{comment(asked)}"))


def _assign(azure: Azure, label: str, role: Raw, who: Value, places: tuple[tuple[str, str], ...], made: Made) -> None:
    scopes: dict[str, Value] = {name: written(scope) for name, scope in places}
    inputs: dict[str, Value] = {"role": role, "principals": who, "scopes": scopes}
    azure.root.module("assignments", label, inputs, made)
