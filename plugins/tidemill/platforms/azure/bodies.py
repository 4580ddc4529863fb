"""Bodies of Azure ML jobs that are not Tidemill's own trainings: any command, and pipelines made elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tidemill.platforms.azure.account import Workspace
from tidemill.platforms.ports import PlatformError

_ADDRESS: Final = re.compile(r"(?:abfss?|wasbs?|azureml|https?)://\S+|azureml:[^/\s]+:[^/\s]+")
_REGISTRY: Final = re.compile(r"azureml://registries/([^/]+)/components/([^/]+)(?:/(?:versions|labels)/([^/]+))?")
_KINDS: Final = {
    "uri_folder": "UriFolderJobInput",
    "uri_file": "UriFileJobInput",
    "mltable": "MLTableJobInput",
    "mlflow_model": "MLFlowModelJobInput",
    "custom_model": "CustomModelJobInput",
    "triton_model": "TritonModelJobInput",
}
"""A job's inputs, as the command line's YAML names them, and the SDK's models of them."""


def inputs_of(values: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """A job's inputs, by the SDK's models.

    A value is a number, text or truth value, which the command sees as text; an address (``abfss://…``,
    ``azureml://datastores/…/paths/…``, a data asset ``azureml:NAME:VERSION``), of which it sees the path of a folder;
    or a mapping with ``type`` (``uri_folder``, ``uri_file``, ``mltable``, ``mlflow_model`` …), ``path`` and ``mode``.

    Raises:
        PlatformError: a value is none of them.
    """
    return {name: _input(name, value, workspace) for name, value in values.items()}


def _input(name: str, value: Any, workspace: Workspace) -> Any:
    from azure.mgmt.machinelearningservices import models

    if isinstance(value, Mapping):
        kind, path = str(value.get("type") or "uri_folder"), value.get("path")
        if kind not in _KINDS or not path or value.keys() - {"type", "path", "mode"}:
            raise PlatformError(
                f"input {name}: {dict(value)!r}; it takes path, type ({', '.join(_KINDS)}) and mode", fault="user"
            )
        made = getattr(models, _KINDS[kind])
        return made(uri=_asset(str(path), workspace), mode=_mode(name, value.get("mode")))
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return models.UriFolderJobInput(uri=_asset(value, workspace), mode="ReadOnlyMount")
    if isinstance(value, bool):
        return models.LiteralJobInput(value=str(value).lower())
    if isinstance(value, int | float | str) and str(value):
        return models.LiteralJobInput(value=str(value))
    raise PlatformError(f"input {name}: {value!r} is neither a value nor an address", fault="user")


def outputs_of(values: Mapping[str, str | Mapping[str, Any]]) -> dict[str, Any]:
    """A job's outputs: addresses of folders, or mappings with ``path`` and ``mode`` (``rw_mount``, ``upload``). An
    empty address lets Azure ML choose a folder in the workspace's own store.

    Raises:
        PlatformError: a value is none of them.
    """
    from azure.mgmt.machinelearningservices import models

    made: dict[str, Any] = {}
    for name, value in values.items():
        told = value if isinstance(value, Mapping) else {"path": value}
        path = str(told.get("path") or "")
        if (path and not _ADDRESS.fullmatch(path)) or told.keys() - {"path", "mode"}:
            raise PlatformError(f"output {name}: {value!r} is no address of a folder", fault="user")
        made[name] = models.UriFolderJobOutput(uri=path or None, mode=_mode(name, told.get("mode") or "rw_mount"))
    return made


def _mode(name: str, mode: Any) -> str | None:
    modes = {
        "ro_mount": "ReadOnlyMount",
        "rw_mount": "ReadWriteMount",
        "download": "Download",
        "upload": "Upload",
        "direct": "Direct",
    }
    if mode is not None and mode not in modes:
        raise PlatformError(f"{name}: mode {mode!r} is none of {', '.join(modes)}", fault="user")
    return modes[mode] if mode is not None else None


def _asset(path: str, workspace: Workspace) -> str:
    """A data asset's full id, where only its name and version are given."""
    if not path.startswith("azureml:") or path.startswith("azureml://"):
        return path
    name, _, version = path.removeprefix("azureml:").partition(":")
    return f"{workspace.scope}/data/{name}/versions/{version}"


def component_of(workspace: Workspace, name: str) -> tuple[str, Mapping[str, Any]]:
    """A component's id and specification: ``NAME:VERSION``, ``NAME`` or ``NAME@latest`` for the newest version, or
    ``azureml://registries/REGISTRY/components/NAME/versions/VERSION``.

    Raises:
        azure.core.exceptions.AzureError: there is none, refused, or no answer.
    """
    client = workspace.client
    registry = _REGISTRY.fullmatch(name)
    if registry is not None:
        # A registry lies in another resource group, and its components may be read by name only.
        return name, {}
    plain = name.removeprefix("azureml:").removesuffix("@latest")
    plain, _, version = plain.partition(":")
    if not version:
        found = client.component_containers.get(workspace.group, workspace.name, plain)
        version = str(found.properties.latest_version)
    found = client.component_versions.get(workspace.group, workspace.name, plain, version)
    spec: Mapping[str, Any] = found.properties.component_spec or {}
    return f"{workspace.scope}/components/{plain}/versions/{version}", spec


def check_inputs(what: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Compare inputs with what a component takes (its specification's ``inputs``).

    Raises:
        PlatformError: it has no such input, or one that it needs is not given.
    """
    for name in given:
        if name not in known:
            raise PlatformError(
                f"{what} has no input {name!r}; it has {', '.join(sorted(known)) or 'none'}", fault="user"
            )
    for name, spec in known.items():
        optional = str(spec.get("optional", "")).lower() == "true" or spec.get("default") is not None
        if name not in given and not optional:
            raise PlatformError(f"{what} needs the input {name!r}", fault="user")


def pipeline_of_component(
    workspace: Workspace, component: str, inputs: Mapping[str, Any], compute: str | None, **job: Any
) -> Any:
    """A pipeline job with one step: a component, which may be a whole pipeline itself. ``job``: further properties of
    the SDK's ``PipelineJob``.

    Raises:
        PlatformError: the inputs are not those of the component.
        azure.core.exceptions.AzureError: there is no such component, refused, or no answer.
    """
    from azure.mgmt.machinelearningservices import models

    identifier, spec = component_of(workspace, component)
    if spec:
        check_inputs(f"component {component}", inputs, spec.get("inputs") or {})
    step = {
        "componentId": identifier,
        "type": str(spec.get("type") or "command"),
        "name": "run",
        "inputs": {name: {"job_input_type": "literal", "value": f"${{{{parent.inputs.{name}}}}}"} for name in inputs},
    }
    return models.JobBase(
        properties=models.PipelineJob(
            inputs=inputs_of(inputs, workspace), jobs={"run": step}, settings=_settings(workspace, compute), **job
        )
    )


def pipeline_of_job(
    workspace: Workspace, source: str, inputs: Mapping[str, Any], compute: str | None, **job: Any
) -> Any:
    """A pipeline job with the steps of another, which may have been made in the designer; its inputs hold where none
    are given.

    Raises:
        PlatformError: the other has no such input, or is no pipeline.
        azure.core.exceptions.AzureError: there is none, refused, or no answer.
    """
    from azure.mgmt.machinelearningservices import models

    found = workspace.client.jobs.get(workspace.group, workspace.name, source).properties
    if str(found.job_type) != "Pipeline":
        raise PlatformError(f"job {source} is a {found.job_type} job, not a pipeline", fault="user")
    known = found.inputs or {}
    for name in inputs:
        if name not in known:
            raise PlatformError(
                f"pipeline job {source} has no input {name!r}; it has {', '.join(sorted(known)) or 'none'}",
                fault="user",
            )
    settings = {**(found.settings or {}), **_settings(workspace, compute)}
    return models.JobBase(
        properties=models.PipelineJob(
            source_job_id=f"{workspace.scope}/jobs/{source}",
            inputs={**known, **inputs_of(inputs, workspace)},
            settings=settings,
            **job,
        )
    )


def _settings(workspace: Workspace, compute: str | None) -> dict[str, Any]:
    return {"default_compute": f"{workspace.scope}/computes/{compute}"} if compute else {}


def start_published(
    workspace: Workspace, pipeline: str, inputs: Mapping[str, Any], experiment: str, tags: Mapping[str, str]
) -> str:
    """Start a published pipeline (the designer's *Publish*) by its id, as its REST endpoint takes it; the run's id.

    The service gives a run its id by itself, and takes no name: whoever may have started one already looks for it by
    tag first, and the call is sent once.

    Raises:
        azure.core.exceptions.AzureError: there is none, refused, or no answer.
    """
    body = {
        "ExperimentName": experiment,
        "ParameterAssignments": {name: str(value) for name, value in inputs.items()},
        "Tags": dict(tags),
        "RunSource": "SDK",
    }
    answer = workspace.call("POST", f"pipelines/v1.0|/PipelineRuns/PipelineSubmit/{pipeline}", body, once=True)
    return str(answer["Id"])


def run_with_tag(workspace: Workspace, experiment: str, key: str, value: str) -> str | None:
    """The id of the newest run with a tag, by the workspace's MLflow; ``None`` if there is none.

    Raises:
        azure.core.exceptions.AzureError: refused, or no answer.
    """
    from azure.core.exceptions import HttpResponseError

    path = "mlflow/v1.0|/api/2.0/mlflow/"
    try:
        found = workspace.call("GET", f"{path}experiments/get-by-name", params={"experiment_name": experiment})
    except HttpResponseError as error:
        if error.status_code in (400, 404):
            return None
        raise
    asked = {
        "experiment_ids": [found["experiment"]["experiment_id"]],
        "filter": f"tags.`{key}` = '{value}'",
        "max_results": 1,
    }
    runs = workspace.call("POST", f"{path}runs/search", asked).get("runs") or []
    return str(runs[0]["info"]["run_id"]) if runs else None
