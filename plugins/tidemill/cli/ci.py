"""``tidemill ci``: the delivery pipeline of a repository of specs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tidemill.cli.locate import UsageProblem, place_of
from tidemill.cli.validate import check_environment, known_environments, unique_errors, verdicts
from tidemill.delivery.model import BUCKETS, DEPLOYS, SYSTEMS, Delivery
from tidemill.infra.written import Changes
from tidemill.settings import ENVIRONMENT
from tidemill.settings import chosen as chosen_environment
from tidemill.spec.errors import SpecErrors
from tidemill.verdict import Verdict

_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
"""What stands in scripts as it is: neither a shell nor a CI system reads anything else into it."""
_USUAL: Final = ("dev", "prod")
"""The environments of specs that have no overlays."""
_STAGES: Final = ("dev", "test", "qa", "uat", "stag", "pre", "", "prod")
"""The order in which environments are usually delivered to, by how their names begin."""


def delivery_of(
    system: str,
    specs: Path,
    output: Path,
    *,
    deploy: str = "image",
    infra: Path | None = None,
    no_infra: bool = False,
    environments: tuple[str, ...] = (),
    branch: str = "main",
) -> Delivery:
    """The delivery pipeline of the specs at a path, in the repository whose root is ``output``.

    Raises:
        SpecErrors: one of the specs has mistakes, in one of its environments.
        UsageProblem: there is no such path, spec, system, environment or way to deploy; the specs are of several
            providers; or what is to be delivered lies outside of the repository.
    """
    if output.exists() and not output.is_dir():
        raise UsageProblem(f"{output} is a file; --output names the repository's folder")
    if not re.fullmatch(_PATH, branch):
        raise UsageProblem(f'--branch "{branch}": letters, digits, ".", "_", "/" and "-"')
    found = Specs(specs)
    chosen = found.environments(environments)
    provider = found.provider(chosen)
    way = _one_of("--deploy", deploy, DEPLOYS)
    if way == "sync" and provider not in BUCKETS:
        raise UsageProblem(
            f"--deploy sync copies to a bucket of {', '.join(BUCKETS)}, and these specs run on {provider}: "
            "choose image or astronomer"
        )
    folder = _infra(provider, infra, no_infra, specs)
    if folder is not None:
        found.all_use_a_provider(chosen)
    place = place_of(specs)

    def folder_of(name: str) -> str | None:
        path = place.project.root / name
        return _within(path, output) if path.is_dir() else None

    return Delivery(
        system=_one_of("SYSTEM", system, SYSTEMS),
        deploy=way,
        provider=provider,
        specs=_within(specs, output),
        dags=_within(place.dags, output),
        include=folder_of("include"),
        tests=folder_of("tests"),
        known=found.known,
        environments=chosen,
        branch=branch,
        infra=_within(output / folder, output) if folder is not None else None,
    )


class Specs:
    """The specs at a path, as they are in each of their environments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._base = list(verdicts([path]))
        self._without = _providers(self._base)
        self.known = tuple(sorted(known_environments(self._base), key=_stage))
        self._providers = {name: self._with(name) for name in self.known}

    def environments(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        """Those to deliver to, in order.

        Raises:
            UsageProblem: one is named twice, is no name, or no spec knows it although they know others.
        """
        for name in asked if self.known else ():
            check_environment(name, self._base)
        chosen = asked or self.known or _USUAL
        for name in chosen:
            if not ENVIRONMENT.fullmatch(name):
                raise UsageProblem(
                    f'the environment "{name}": at most 23 letters, digits, "_" and "-", that begin with a letter and '
                    "end with a letter or digit"
                )
        if len({name.lower() for name in chosen}) < len(chosen):
            raise UsageProblem(f"two environments have one name: {', '.join(chosen)}")
        return chosen

    def provider(self, environments: tuple[str, ...]) -> str:
        """The one cloud that the specs use in some environments; ``local``: none.

        Raises:
            UsageProblem: there are several.
        """
        used: dict[str, str] = {}
        for name in environments:
            used |= self._providers.get(name, self._without)
        if len(used) > 1:
            told = ", ".join(f"{provider} ({used[provider]})" for provider in sorted(used))
            raise UsageProblem(
                f"these specs are of several providers: {told}; a delivery pipeline signs in to one: keep the specs of "
                "each in a repository of its own"
            )
        return next(iter(used), "local")

    def all_use_a_provider(self, environments: tuple[str, ...]) -> None:
        """Whether Terraform is to be written for each of some environments.

        Raises:
            UsageProblem: the specs run on this machine in one of them.
        """
        here = [name for name in environments if self.known and not self._providers[name]]
        if here:
            raise UsageProblem(
                f"in {', '.join(here)} these specs run on this machine, and need no infrastructure: name the other "
                "environments with --environment, or say --no-infra"
            )

    def _with(self, environment: str) -> dict[str, str]:
        with chosen_environment(environment):
            return _providers(list(verdicts([self.path])))


def _providers(results: list[tuple[Path, Verdict]]) -> dict[str, str]:
    """Each cloud that some specs use, with a file that names it.

    Raises:
        SpecErrors: one of them has mistakes.
    """
    errors = unique_errors(results)
    if errors:
        raise SpecErrors(errors)
    found: dict[str, str] = {}
    for _, verdict in results:
        for plan in verdict.plans:
            provider = plan.spec["platform"]["provider"] if plan.model else "local"
            if provider != "local":
                found.setdefault(provider, plan.file)
    return found


def _stage(name: str) -> tuple[int, str]:
    named = next((stage for stage in _STAGES if stage and name.lower().startswith(stage)), "")
    return _STAGES.index(named), name


def _infra(provider: str, folder: Path | None, absent: bool, specs: Path) -> Path | None:
    """Where ``tidemill infra`` writes the Terraform; ``None``: there is none."""
    if folder is not None and absent:
        raise UsageProblem("--infra and --no-infra exclude each other")
    if folder is not None and provider == "local":
        raise UsageProblem(f"--infra {folder}: the specs below {specs} run on this machine, and need no infrastructure")
    return None if absent or provider == "local" else folder or Path("infra")


def _one_of(option: str, value: str, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise UsageProblem(f'{option} "{value}": choose one of {", ".join(choices)}')
    return value


def _within(path: Path, output: Path) -> str:
    """A path as it is reached from the repository's root.

    Raises:
        UsageProblem: it lies outside, or has characters that scripts would read.
    """
    top = output.resolve()
    if not path.resolve().is_relative_to(top):
        raise UsageProblem(f"{path} lies outside of {output}: --output names the repository's folder, which holds both")
    found = path.resolve().relative_to(top).as_posix()
    if found != "." and not _PATH.fullmatch(found):
        raise UsageProblem(f'"{found}" stands in scripts: letters, digits, ".", "_", "/" and "-" alone')
    return found


def write_or_compare(delivery: Delivery, output: Path, *, force: bool, check: bool) -> Changes:
    """Write the files into the repository, or with ``check`` tell what would change.

    Raises:
        InfraProblem: files were changed by hand, are a person's, or cannot be written.
    """
    from tidemill.delivery.render import files_of, kind_of
    from tidemill.infra.written import compare, write

    files, kind = files_of(delivery), kind_of(delivery)
    return compare(output, files, kind) if check else write(output, files, kind, force=force)


def as_json(delivery: Delivery, output: Path, changes: Changes) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "system": delivery.system,
        "deploy": delivery.deploy,
        "provider": delivery.provider,
        "environments": list(delivery.environments),
        "infra": delivery.infra,
        "output": str(output),
        **changes.to_json(),
    }


def report(delivery: Delivery, output: Path, changes: Changes) -> Iterator[str]:
    """What a person is told of what was written."""
    from tidemill.delivery.render import FILES, YOURS

    if changes.none:
        yield f"{output / FILES[delivery.system]}: nothing to change"
        return
    for path in [*changes.new, *changes.changed, *changes.edited]:
        yield f"wrote {output / path}{' once; it is yours from now on' if path in YOURS else ''}"
    yield from (f"removed {output / path}" for path in changes.stale)
    on = "" if delivery.provider == "local" else f" on {delivery.provider}"
    yield f"\ndelivers{on} to {', then '.join(delivery.environments)}; {delivery.last} waits for a person"
    if delivery.infra is None and delivery.provider != "local":
        yield "without Terraform: --infra FOLDER names one that holds a root for each environment"
    for name, command in zip(delivery.environments, delivery.roots, strict=False):
        if not (output / f"{delivery.infra}/{name}").is_dir():
            yield f"next:  {command}"
    if not (output / "wheels").is_dir() and "requirements.txt" in changes.new:
        yield "next:  requirements.txt says how Tidemill gets installed: it is on no public index"
    yield f"next:  the first lines of {FILES[delivery.system]} say what to set before its first run"
