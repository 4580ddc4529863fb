"""A copy of a spec for a run of its own: after inheritance, on a sample of the rows, with values changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.testing.pipeline import Pipeline
    from tidemill.testing.running import Wanted

_FOLDER = "dags"


def written(pipeline: Pipeline, wanted: Wanted, folder: Path) -> tuple[Path, str | None]:
    """The file to run, and the ``as_of`` to give to it.

    A step that fails is not tried again there: who tests wants to know it at once, not after the retries' delays.

    Raises:
        AssertionError: there are no rows to sample, or the changes make the spec invalid.
    """
    __tracebackhide__ = True
    as_of = None if wanted.as_of is None else str(wanted.as_of)
    changes = dict(wanted.overrides)
    if pipeline.plan.model and wanted.sample is not None:
        from tidemill.testing.sample import instant_of, sample, spec_of
        from tidemill.tools import source

        train, holdout = sample(pipeline.plan, pipeline.place.project, wanted.sample, wanted.as_of)
        path = folder / "sample.parquet"
        source.write(train.extend(holdout), path)
        changes["data.source"] = str(path)
        as_of = instant_of(spec_of(pipeline.plan), wanted.as_of).isoformat()
    return _copy(pipeline, changes, folder), as_of


def _copy(pipeline: Pipeline, changes: Mapping[str, Any], folder: Path) -> Path:
    __tracebackhide__ = True
    from tidemill.cli.resolved import resolve
    from tidemill.project import Project
    from tidemill.spec.errors import SpecErrors
    from tidemill.spec.load import values_of
    from tidemill.verdict import judge

    try:
        values = _literal(values_of(resolve(pipeline.file, pipeline.row)))
    except TidemillError as e:  # it was sound when it was loaded
        raise AssertionError(str(e)) from None
    _without_retries(values)
    _trained_here(values)
    for path, value in changes.items():
        _put(values, path, value)
    if pipeline.row is not None:
        values["matrix"] = {pipeline.row: {}}
    dags = folder / _FOLDER
    dags.mkdir()
    file = dags / f"{pipeline.file.stem}.yaml"
    file.write_text(json.dumps({"tidemill": 1, **values}, indent=2, ensure_ascii=False))
    project = Project(pipeline.place.project.root, folder / "state")
    verdict = judge(file, dags, project, row=pipeline.row)
    if verdict.errors:
        given = ", ".join(f"{path}: {value!r}" for path, value in changes.items())
        raise AssertionError(f"the spec is not valid with {given}\n\n{SpecErrors(verdict.errors).render()}")
    return file


def _without_retries(values: dict[str, Any]) -> None:
    """Leave out how often steps are tried again: of all, of a group's, of one."""
    for holder in (values, values.get("defaults")):
        if isinstance(holder, dict):
            holder.pop("retries", None)
    steps = values.get("steps")
    for step in steps.values() if isinstance(steps, dict) else ():
        if isinstance(step, dict):
            _without_retries(step)


def _trained_here(values: dict[str, Any]) -> None:
    """Leave out what only a cloud has a use for: a test submits no jobs, the same function is run on this machine."""
    platform = values.get("platform")
    if not isinstance(platform, dict) or platform.get("provider") == "local":
        return
    values["platform"] = {"provider": "local"}
    data = values.get("data")
    if isinstance(data, dict) and data.get("version") == "object-store":
        for key in ("version", "keep"):
            data.pop(key, None)
    train = values.get("train")
    if not isinstance(train, dict):
        return
    for key in ("service", "image", "track", "resources"):
        train.pop(key, None)


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a value by its path; what lies on the way is made if it is not there, and a short form gives way."""
    __tracebackhide__ = True
    *way, last = path.split(".")
    at: Any = values
    for name in [*way, last]:
        if isinstance(at, list) and (not name.isdigit() or int(name) >= len(at)):
            raise AssertionError(f'overrides: "{path}": "{name}" is no index of a list of {len(at)}')
        key: Any = int(name) if isinstance(at, list) else name
        if name is last:
            at[key] = value
        elif isinstance(at, list):
            at = at[key]
        else:
            if not isinstance(at.get(key), dict | list):
                at[key] = {}
            at = at[key]


def _literal(value: Any) -> Any:
    """Values that references were resolved in, such that no text is taken for a reference again."""
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
