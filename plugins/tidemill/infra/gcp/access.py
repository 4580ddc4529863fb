"""Who may do what: the service accounts that jobs run as, and the roles of those that Airflow's connections sign as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from tidemill.infra.gcp import airflow_access, job_access
from tidemill.infra.gcp.base import Gcp
from tidemill.infra.gcp.grants import Grant, local, merged
from tidemill.infra.gcp.using import Folder, Using, account_of, bucket_of
from tidemill.infra.hcl import Raw, Template, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Asked, InfraProblem, Named, Pipeline
from tidemill.infra.root import Made, comment

_ROLE: Final = Limit("a custom role's id", 64)
_ACCOUNT: Final = (6, 30)
"""Characters of a service account's name, and of a role's id: IAM's API reference (projects.serviceAccounts.create,
projects.roles.create), November 2026."""

_Maker = Callable[[Using], Iterator[Grant]]
_STEPS: Final[dict[str, _Maker]] = {
    "train": airflow_access.train,
    "wait": airflow_access.wait,
    "track": airflow_access.track,
    "versions": airflow_access.versions,
    "monitor": airflow_access.monitor,
    "sources": airflow_access.sources,
}
_JOBS: Final[dict[str, _Maker]] = {"job": job_access.files}
_AIRFLOW: Final = Raw("{ for member in var.airflow_members : member => member }")


def grant(gcp: Gcp) -> None:
    """Everybody's rights."""
    accounts = gcp.needs.named("platform.service_account", lambda p: p.platform.service_account)
    for account in accounts:
        _account(gcp, account)
    using = {pipeline.name: _using(gcp, pipeline) for pipeline in gcp.needs.pipelines}
    for account in accounts:
        used = [using[pipeline.name] for pipeline in account.users]
        label = gcp.root.label("account_access", account.name.partition("@")[0], account.asked)
        members: dict[str, Value] = {account.name: Template(f"serviceAccount:${{{gcp.accounts[account.name]}}}")}
        made = Made("roles of the service account", account.name, account.asked)
        steps = _steps(gcp, label, _JOBS, {"job": used}, account.asked)
        _access(gcp, label, account.name.partition("@")[0], members, steps, made)
    gcp.root.variable(
        "airflow_members", "set(string)",
        "Who Airflow's workers and triggerer are to Google, e.g. serviceAccount:NAME@PROJECT.iam.gserviceaccount.com: "
        "they get the roles of the steps.", [],
    )  # fmt: skip
    for found in gcp.needs.named("platform.connection", lambda p: p.connection):
        label = gcp.root.label("airflow", found.name, found.asked)
        using_of = {
            step: [
                using[p.name]
                for p in found.users
                if step == "sources" or ("train" if step == "wait" else step) in p.tasks
            ]
            for step in _STEPS
        }
        made = Made("roles of the connection", found.name, found.asked)
        made_steps = _steps(gcp, label, _STEPS, using_of, found.asked)
        called = _access(gcp, label, found.name, _AIRFLOW, made_steps, made)
        told = (
            f"The roles for who the connection {found.name} signs as, by step and what it does, with where they count."
        )
        gcp.root.output(f"{label}_roles", Raw(f"{called}.roles"), told)


def _account(gcp: Gcp, found: Named) -> None:
    """A service account: created if it is the project's own."""
    account, asked = account_of(found.name), found.asked
    made = Made("service account of jobs", found.name, asked)
    label = gcp.root.label("account", found.name.partition("@")[0], asked)
    own = account is not None and account.project == found.users[0].platform.project
    if account is None or not own or found.existing:
        gcp.accounts[found.name] = gcp.root.variable(label, "string", "A service account.", found.name, asked)
        gcp.root.used.append(made)
        return
    if not _ACCOUNT[0] <= len(account.name) <= _ACCOUNT[1]:
        raise InfraProblem(
            f"{asked[0]}: {account.name} has {len(account.name)} characters, and a service account's name has "
            f"{_ACCOUNT[0]} to {_ACCOUNT[1]}: name another one"
        )
    name = gcp.root.variable(label, "string", "A service account's name.", account.name, asked)
    called = gcp.root.module("account", label, {"name": name, "project": Raw(gcp.project)}, made)
    gcp.accounts[found.name] = f"{called}.email"


def _using(gcp: Gcp, pipeline: Pipeline) -> Using:
    platform, spot = pipeline.platform, pipeline.spec.train.resources.spot
    bucket, path = bucket_of(platform.bucket or "")
    email = platform.service_account
    return Using(
        project=f"${{{gcp.project}}}",
        work=_folder(gcp, bucket, "/".join(filter(None, (path, "tidemill")))),
        checkpoints=_folder(gcp, *bucket_of(spot.checkpoint)) if spot is not None else None,
        sources=tuple(_source(gcp, address) for address in pipeline.sources),
        account=email or "",
        account_name=_resource(gcp, pipeline, email) if email else "",
        keeps_for="versions" in pipeline.tasks and pipeline.spec.data.keep is not None,
    )


def _resource(gcp: Gcp, pipeline: Pipeline, email: str) -> str:
    account = account_of(email)
    # Google's own default accounts do not say whose they are: `-` is for whichever project has it.
    project = account.project if account else "-"
    told = "${var.project}" if project == pipeline.platform.project else project
    return f"projects/{told}/serviceAccounts/${{{gcp.accounts[email]}}}"


def _folder(gcp: Gcp, bucket: str, path: str) -> Folder:
    name = f"${{var.{identifier(f'bucket_{bucket}')}}}"
    return Folder(bucket, name, f"${{{gcp.buckets[bucket]}}}", f"{path}/" if path else "")


def _source(gcp: Gcp, address: str) -> Folder:
    """An object that rows are read from. Its bucket may be anybody's: one that the root does not know is there."""
    bucket, path = bucket_of(address)
    if bucket not in gcp.buckets:
        return Folder(bucket, bucket, bucket, path)
    return replace(_folder(gcp, bucket, ""), path=path)


def _access(gcp: Gcp, label: str, name: str, members: Value, steps: dict[str, Value], made: Made) -> Raw:
    plain = identifier(name)
    for told in gcp.root.policies:
        for one in gcp.root.policies[told]:
            step = told.removeprefix(f"{label}_")
            if step in steps:
                checked(f"{gcp.prefix}_{plain}_{step}_{one.what}", _ROLE, made.asked)
    inputs: dict[str, Value] = {
        "project": Raw(gcp.project),
        "prefix": Raw(f'"${{replace(var.prefix, "-", "_")}}_{plain}"'),
        "steps": steps,
        "members": members,
    }
    return gcp.root.module("access", label, inputs, made)


def _steps(
    gcp: Gcp, label: str, makers: dict[str, _Maker], users: dict[str, list[Using]], asked: tuple[Asked, ...]
) -> dict[str, Value]:
    """The rights of each step; returns what the module takes."""
    found: dict[str, Value] = {}
    for step, make in makers.items():
        grants = merged(_all(make, users[step]))
        if not grants:
            continue
        told = " ".join((make.__doc__ or "").split())
        gcp.root.access.append(local(f"{label}_{step}", grants, f"{told}\n{comment(asked)}"))
        gcp.root.policies[f"{label}_{step}"] = grants
        found[step] = Raw(f"local.{label}_{step}")
    return found


def _all(make: _Maker, users: Iterable[Using]) -> Iterator[Grant]:
    for using in users:
        yield from make(using)
