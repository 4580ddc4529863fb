"""The hook and the operators for Azure ML, which need no spec: against the emulator, and in a whole DAG."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.airflow_home import import_airflow
from tests.emulators import Emulation, start
from tests.platforms.azure import PLATFORM, needs_azurite

pytestmark = needs_azurite
IMAGE = "registry.example/tools:1"
BASE = str(PLATFORM["bucket"])
ADD = {
    "type": "command",
    "command": "echo sum=$(( ${{inputs.a}} + ${{inputs.b}} ))",
    "inputs": {"a": {"type": "integer"}, "b": {"type": "integer", "default": "2"}},
}


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    with start("azure", tmp_path_factory.mktemp("azure"), PLATFORM) as running:
        yield running


@pytest.fixture
def connected(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A connection of the type ``azure_ml`` that leads to the emulator."""
    import_airflow()

    def connect(**extra: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_AZURE_ML_DEFAULT", json.dumps(connection(emulation, **extra)))

    connect()
    yield connect
    emulation.set_faults()


def connection(emulation: Emulation, **extra: Any) -> dict[str, Any]:
    found = json.loads(emulation.environment["AIRFLOW_CONN_AZURE_DEFAULT"])
    more = {name: PLATFORM[name] for name in ("resource_group", "workspace")}
    return {"conn_type": "azure_ml", "extra": {**found["extra"], **more, **extra}}


class Store(dict[str, Any]):
    """What a task remembers; Airflow's own keeps JSON as well."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def context(run: str, store: Store | None = None) -> Any:
    ti = SimpleNamespace(dag_id="flights", run_id=run, task_id="job", map_index=-1)
    return {"ti": ti, "task_state_store": Store() if store is None else store}


def command(**changes: Any) -> Any:
    from tidemill.airflow.azureml import AzureMlJobOperator

    given = {"command": "echo hello", "environment": IMAGE, "compute": "cpu-cluster", "poll_interval": 0.05}
    return AzureMlJobOperator(task_id="job", **{**given, **changes})


def pipeline(**given: Any) -> Any:
    from tidemill.airflow.azureml import AzureMlPipelineOperator

    return AzureMlPipelineOperator(task_id="job", poll_interval=0.05, **given)


def register(emulation: Emulation, name: str, spec: dict[str, Any]) -> None:
    """A component of the workspace, as the studio or the command line would make it."""
    from azure.mgmt.machinelearningservices import models

    from tidemill.airflow.azureml import AzureMlHook

    workspace = AzureMlHook().workspace
    body = models.ComponentVersion(properties=models.ComponentVersionProperties(component_spec=spec))
    workspace.client.component_versions.create_or_update(workspace.group, workspace.name, name, "1", body)


def job(emulation: Emulation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = emulation.report()["jobs"][name]
    return found


def test_a_command_runs_with_its_inputs_and_outputs(emulation: Emulation, connected: Any, tmp_path: Path) -> None:
    from tidemill.airflow.azureml import AzureMlHook

    hook = AzureMlHook()
    (tmp_path / "words").write_text("eleven words")
    hook.jobs.storage.put(tmp_path / "words", f"{BASE}/in/words")
    operator = command(
        command='wc -c < "${{inputs.folder}}/words" > "${{outputs.counted}}/n"; echo "$GREETING ${{inputs.n}}"',
        inputs={"folder": f"{BASE}/in", "n": 3},
        outputs={"counted": f"{BASE}/out"},
        environment_variables={"GREETING": "good morning"},
        tags={"team": "ml"},
    )
    found = operator.execute(context("a"))
    told = job(emulation, found["name"])
    assert told["log"] == "good morning 3\n"
    assert hook.log_of(found["name"]) == told["log"]
    assert told["body"]["properties"]["tags"]["team"] == "ml"
    hook.jobs.storage.get(f"{BASE}/out/n", tmp_path / "n")
    assert (tmp_path / "n").read_text().strip() == "12"
    assert found["studio_url"] == operator.studio_url
    assert found["name"] in operator.studio_url


def test_a_job_that_fails_fails_its_task_with_the_services_words(connected: Any) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="status code 3"):
        command(command="exit 3").execute(context("fails"))


def test_a_retry_goes_on_with_the_job_that_runs_and_starts_another_after_a_failure(
    emulation: Emulation, connected: Any
) -> None:
    from airflow.sdk.exceptions import AirflowException

    store = Store()
    before = set(emulation.report()["jobs"])
    # The answer to the submit is lost, and the worker with it.
    operator = command(command="sleep 0.5; echo once")
    operator.start = _and_die(operator.start)
    with pytest.raises(KeyboardInterrupt):
        operator.execute(context("crash", store))
    found = command(command="sleep 0.5; echo once").execute(context("crash", store))
    assert set(emulation.report()["jobs"]) - before == {found["name"]}

    # It ended well, and was seen to: whoever clears the task wants it run again.
    again = command().execute(context("crash", store))
    assert again["name"] != found["name"]

    with pytest.raises(AirflowException):
        command(command="exit 1").execute(context("crash", store))
    after = command().execute(context("crash", store))
    assert after["name"].endswith("-4")


def _and_die(start: Callable[..., str]) -> Callable[..., str]:
    def starts(*args: Any) -> str:
        start(*args)
        raise KeyboardInterrupt

    return starts


def test_a_killed_task_takes_its_job_along(emulation: Emulation, connected: Any) -> None:
    operator = command(command="sleep 60")
    operator._watch = lambda name: (_ for _ in ()).throw(KeyboardInterrupt)
    store = Store()
    with pytest.raises(KeyboardInterrupt):
        operator.execute(context("kill", store))
    operator.on_kill()
    (known,) = store.values()
    status = command()._watch(known["job"])
    assert status is not None
    assert status.state == "stopped"


def test_a_strangers_job_of_the_name_is_an_error(emulation: Emulation, connected: Any) -> None:
    from airflow.sdk.exceptions import AirflowException

    from tidemill.airflow import azureml

    emulation.set_faults(noop=True)
    asked = context("stranger")
    name = azureml.job_name(asked, azureml._identity(asked), 1)
    command(command="other").start(name, {azureml.TAG: "somebody-else"})
    with pytest.raises(AirflowException, match="not this"):
        command().execute(asked)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"inputs": {"x": None}}, "input x: None"),
        ({"inputs": {"x": {"type": "folder", "path": "abfss://c@a.dfs.core.windows.net/x"}}}, "uri_folder"),
        ({"inputs": {"x": {"path": "abfss://c@a.dfs.core.windows.net/x", "mode": "w"}}}, "ro_mount"),
        ({"outputs": {"y": "somewhere"}}, "output y"),
        ({"command": "cat ${{inputs.none}}"}, "inputs.none"),
        ({"compute": "none"}, "compute target none"),
        ({"environment": "azureml:none:1"}, "Environment none:1"),
        ({"workspace": "none-ml"}, "none-ml"),
    ],
)
def test_a_mistake_is_told_without_a_trace(connected: Any, given: dict[str, Any], says: str) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match=says) as caught:
        command(**given).execute(context(f"mistake-{says}"))
    assert caught.value.__suppress_context__


def test_every_kind_of_input_becomes_the_models_own(connected: Any) -> None:
    from tidemill.airflow.azureml import AzureMlHook
    from tidemill.platforms.azure.bodies import inputs_of

    workspace = AzureMlHook().workspace
    at = "azureml://datastores/d/paths/p"
    made = inputs_of(
        {
            "flag": True,
            "rate": 0.1,
            "words": "a b",
            "folder": at,
            "asset": "azureml:flights:3",
            "file": {"type": "uri_file", "path": at, "mode": "download"},
            "table": {"type": "mltable", "path": at},
            "model": {"type": "mlflow_model", "path": at},
        },
        workspace,
    )
    bodies = {name: value.serialize() for name, value in made.items()}
    assert {name: body["jobInputType"] for name, body in bodies.items()} == {
        "flag": "literal",
        "rate": "literal",
        "words": "literal",
        "folder": "uri_folder",
        "asset": "uri_folder",
        "file": "uri_file",
        "table": "mltable",
        "model": "mlflow_model",
    }
    assert (bodies["flag"]["value"], bodies["rate"]["value"]) == ("true", "0.1")
    assert bodies["asset"]["uri"] == f"{workspace.scope}/data/flights/versions/3"
    assert bodies["file"]["mode"] == "Download"


def test_a_component_is_given_its_inputs_and_followed(emulation: Emulation, connected: Any) -> None:
    from airflow.sdk.exceptions import AirflowException

    register(emulation, "add", ADD)
    for name in ("add:1", "add", "add@latest"):
        found = pipeline(component=name, inputs={"a": 40}).execute(context(f"component-{name}"))
        assert job(emulation, found["name"])["log"] == "sum=42\n"
    for inputs, says in (({"a": 1, "c": 2}, "no input 'c'; it has a, b"), ({}, "needs the input 'a'")):
        with pytest.raises(AirflowException, match=says):
            pipeline(component="add", inputs=inputs).execute(context("component-wrong"))
    with pytest.raises(AirflowException, match="none not found"):
        pipeline(component="none").execute(context("component-none"))


def test_a_pipeline_job_is_run_again_with_other_inputs(emulation: Emulation, connected: Any) -> None:
    from airflow.sdk.exceptions import AirflowException

    register(emulation, "add", ADD)
    first = pipeline(component="add", inputs={"a": 1, "b": 1}).execute(context("source"))
    again = pipeline(source_job=first["name"], inputs={"b": 9}).execute(context("again"))
    assert job(emulation, again["name"])["log"] == "sum=10\n"
    with pytest.raises(AirflowException, match="no input 'z'; it has a, b"):
        pipeline(source_job=first["name"], inputs={"z": 9}).execute(context("again-wrong"))
    single = command().execute(context("single"))
    with pytest.raises(AirflowException, match="not a pipeline"):
        pipeline(source_job=single["name"]).execute(context("again-single"))


@pytest.mark.slow
def test_a_published_pipeline_whose_answer_was_lost_is_found_again(emulation: Emulation, connected: Any) -> None:
    register(emulation, "published", ADD)
    store = Store()
    given = {"published_pipeline": "published", "inputs": {"a": 5}, "experiment_name": "published"}
    before = set(emulation.report()["jobs"])
    operator = pipeline(**given)
    operator.start = _and_die(operator.start)
    with pytest.raises(KeyboardInterrupt):
        operator.execute(context("published", store))
    found = pipeline(**given).execute(context("published", store))
    assert set(emulation.report()["jobs"]) - before == {found["name"]}
    assert job(emulation, found["name"])["log"] == "sum=7\n"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lose", "half"])
def test_a_published_pipeline_is_started_once_though_no_answer_comes_and_lists_are_late(
    emulation: Emulation, connected: Any, fault: str
) -> None:
    register(emulation, "late", ADD)
    given = {"published_pipeline": "late", "inputs": {"a": 5}, "experiment_name": f"late-{fault}"}
    before = set(emulation.report()["jobs"])
    emulation.set_faults(listing_delay=1.5, **{fault: {"PipelineSubmit": 1}})
    found = pipeline(**given).execute(context(f"late-{fault}"))
    emulation.set_faults()
    assert set(emulation.report()["jobs"]) - before == {found["name"]}


def test_a_published_pipeline_is_asked_for_once_where_azures_client_would_ask_again(
    emulation: Emulation, connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    from tidemill.airflow import azureml

    register(emulation, "unlucky", ADD)
    monkeypatch.setattr(azureml, "_SEARCHES", (0.0,))
    emulation.set_faults(fail={"PipelineSubmit": 9})
    before = emulation.report()["calls"].get("PipelineSubmit", 0)
    with pytest.raises(AirflowException):
        pipeline(published_pipeline="unlucky", experiment_name="unlucky").execute(context("unlucky"))
    assert emulation.report()["calls"]["PipelineSubmit"] == before + 1
    emulation.set_faults()


@pytest.mark.parametrize(
    ("connection", "kind"),
    [
        ({"login": "id", "password": "secret", "extra": {"tenantId": "t0"}}, "ClientSecretCredential"),
        ({"extra": {"subscriptionId": "s"}}, "DefaultAzureCredential"),
        (
            {"extra": {"managed_identity_client_id": "m", "workload_identity_tenant_id": "t"}},
            "DefaultAzureCredential",
        ),
        ({"extra": {"access_token": "given"}}, "StaticToken"),
    ],
)
def test_credentials_are_the_providers_own(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], kind: str
) -> None:
    import_airflow()
    from tidemill.airflow.connections import AirflowConnections

    monkeypatch.setenv("AIRFLOW_CONN_SIGNED", json.dumps({"conn_type": "azure", **connection}))
    assert type(AirflowConnections().credentials("azure", "signed")).__name__ == kind


@pytest.mark.parametrize("given", [{"login": "id", "password": "secret"}, {"login": "id", "extra": {"tenantId": "t"}}])
def test_half_a_service_principal_is_an_error(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    import_airflow()
    from tidemill.airflow.connections import AirflowConnections
    from tidemill.platforms.ports import PlatformError

    monkeypatch.setenv("AIRFLOW_CONN_SIGNED", json.dumps({"conn_type": "azure", **given}))
    with pytest.raises(PlatformError, match="tenantId"):
        AirflowConnections().credentials("azure", "signed")


def test_exactly_one_pipeline_is_named() -> None:
    import_airflow()
    for given in ({}, {"component": "a", "source_job": "b"}):
        with pytest.raises(ValueError, match="one of"):
            pipeline(**given)


def test_the_connection_form_says_whether_the_workspace_answers(connected: Callable[..., None]) -> None:
    from tidemill.airflow.azureml import AzureMlHook

    assert AzureMlHook().test_connection() == (True, "workspace acme-ml in westeurope")
    connected(access_token="expired")
    good, words = AzureMlHook().test_connection()
    assert not good
    assert "have expired" in words
    connected(workspace=None)
    good, words = AzureMlHook().test_connection()
    assert (good, "no workspace" in words) == (False, True)


def test_the_connection_type_is_as_airflow_wants_it() -> None:
    import_airflow()
    import airflow
    import jsonschema

    from tidemill.airflow.azureml import AzureMlHook
    from tidemill.airflow.provider_info import get_provider_info

    info = get_provider_info()
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    (told,) = (told for told in info["connection-types"] if told["connection-type"] == AzureMlHook.conn_type)
    module, _, name = told["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is AzureMlHook
    assert told["hook-name"] == AzureMlHook.hook_name


@pytest.mark.slow
def test_the_connection_type_has_a_form() -> None:
    import_airflow()
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    found = manager.hooks["azure_ml"]
    assert found is not None
    assert (found.hook_name, found.connection_type) == ("Azure Machine Learning", "azure_ml")
    fields = {name for name in manager.connection_form_widgets if name.startswith("extra__azure_ml__")}
    assert {"extra__azure_ml__workspace", "extra__azure_ml__tenantId"} <= fields
    assert manager.connection_form_widgets["extra__azure_ml__access_token"].is_sensitive
    assert manager.field_behaviours["azure_ml"]["hidden_fields"] == ["host", "port", "schema"]


DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from tidemill.airflow.azureml import AzureMlJobOperator, AzureMlPipelineOperator

with DAG("azureml") as dag:
    first = AzureMlJobOperator(
        task_id="first", command="echo ${{inputs.n}}", environment="registry.example/tools:1", compute="cpu-cluster",
        inputs={"n": "{{ 6 * 7 }}"}, deferrable=True, timeout=timedelta(minutes=5),
    )
    second = AzureMlPipelineOperator(
        task_id="second", component="add", inputs={"a": "{{ ti.xcom_pull('first')['name'] | length }}"}, deferrable=True
    )
    first >> second

if __name__ == "__main__":
    run = dag.test()
    print("STATE", run.state)
"""


@pytest.mark.slow
def test_a_dag_waits_in_the_triggerer(emulation: Emulation, connected: Any, tmp_path: Path) -> None:
    register(emulation, "add", ADD)
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "azureml.py").write_text(DAG)
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
        "AIRFLOW_CONN_AZURE_ML_DEFAULT": json.dumps(connection(emulation)),
        "PYTHONPATH": f"{root / 'plugins'}",
    }
    airflow = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(airflow, env=environment, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "reserialize"], env=environment, check=True, capture_output=True
    )
    done = subprocess.run(
        [sys.executable, str(dags / "azureml.py")], env=environment, check=False, capture_output=True, text=True
    )
    assert "STATE success" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
    jobs = emulation.report()["jobs"]
    (first,) = (name for name in jobs if name.startswith("azureml-first-"))
    assert jobs[first]["log"] == "42\n"
    (second,) = (name for name in jobs if name.startswith("azureml-second-"))
    assert jobs[second]["log"] == f"sum={len(first) + 2}\n"
