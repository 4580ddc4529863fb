"""MLflow for real: a server and a local store, a server that is down, and one that never answers."""

from __future__ import annotations

import base64
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import cloudpickle
import pandas as pd
import pytest

from tests.mlflow_store import AtServer, copy_store, free_port, mlflow_server, store_template
from tests.steps.conftest import NoConnections
from tidemill.platforms.ports import Connection
from tidemill.project import Project
from tidemill.runtime.files import Point
from tidemill.steps.context import StepError
from tidemill.tools import mlflow_calls
from tidemill.tools.mlflow import Mlflow, TrackedRun, open_mlflow
from tidemill.tools.mlflow_calls import MlflowError, address_of, local_store

__all__ = ["mlflow_server", "store_template"]
HERE = Path(__file__).resolve().parents[2]


class Nowhere:
    def get(self, conn_id: str) -> Connection | None:
        return None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(root=tmp_path, state=tmp_path / "state")


@pytest.fixture(params=["server", "local"])
def mlflow(request: pytest.FixtureRequest, project: Project) -> Mlflow:
    if request.param == "server":
        return open_mlflow(AtServer(request.getfixturevalue("mlflow_server")), project)
    copy_store(request.getfixturevalue("store_template"), project)
    return open_mlflow(Nowhere(), project)


@pytest.fixture
def local(project: Project, store_template: Path) -> Mlflow:
    copy_store(store_template, project)
    return open_mlflow(Nowhere(), project)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of this test's own: the server is shared."""
    return re.sub(r"\W+", "-", request.node.name)


def start(mlflow: Mlflow, name: str, **changes: Any) -> TrackedRun:
    given: dict[str, Any] = {
        "experiment": name,
        "name": "a run",
        "dag_id": "flights",
        "dag_run": "manual__2013-07-01T00:00:00+00:00",
        "same": {"tidemill.data_version": "v1"},
        "tags": {"tidemill.as_of": "2013-07-01"},
    }
    return mlflow.start_or_resume_run(**{**given, **changes})


class Constant:
    """A model of no library."""

    def __init__(self, p: float) -> None:
        self.p = p

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        import numpy as np

        return np.full((len(rows), 2), [1 - self.p, self.p])


def sample() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": [0.0, 1.0, 2.0, 3.0],
            "n": [1, 2, 3, 4],
            "gap": [1, None, 3, 4],
            "text": ["x", None, "y", "z"],
            "flag": [True, False, True, True],
            "time": pd.to_datetime(["2013-01-01"] * 4, utc=True),
        }
    )


def pickled(tmp_path: Path, model: Any) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(cloudpickle.dumps(model))
    return path


def fitted() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    numbers = ColumnTransformer([("keep", "passthrough", ["a", "n"])])
    return make_pipeline(numbers, LogisticRegression()).fit(sample(), ["no", "no", "yes", "yes"])


def log_model(mlflow: Mlflow, run: TrackedRun, source: Path, **changes: Any) -> str:
    given: dict[str, Any] = {"sample": sample(), "classification": True, "classes": ["no", "yes"]}
    return mlflow.log_model(run.run_id, source, **{**given, **changes})


def test_a_dag_runs_run_is_found_again(mlflow: Mlflow, name: str) -> None:
    first = start(mlflow, name)
    assert (first.finished, first.model_uri) == (False, None)
    assert first.tags["tidemill.dag_run"] == "manual__2013-07-01T00:00:00+00:00"
    assert start(mlflow, name).run_id == first.run_id
    assert start(mlflow, name, dag_run="other").run_id != first.run_id
    assert start(mlflow, name, same={"tidemill.data_version": "v2"}).run_id != first.run_id


def test_a_failed_run_is_set_running_again(local: Mlflow, name: str) -> None:
    first = start(local, name)
    local.end_run(first.run_id, failed=True)
    again = start(local, name)
    assert again.run_id == first.run_id
    with local.calls("reading", "run") as client:
        assert client.get_run(first.run_id).info.status == "RUNNING"


def test_parameters_and_the_history_of_metrics_are_logged_once(mlflow: Mlflow, name: str) -> None:
    run = start(mlflow, name)
    points = [Point("loss", 1.0 / (i + 1), i, 1_000 + i) for i in range(450)] + [Point("bad", None, 0, 1)]
    params = {"depth": 3, "layers": [1, 2], "a=b?": "x", "long": "y" * 9_000}
    for _ in range(2):
        mlflow.log(run.run_id, params, points)
    with mlflow.calls("reading", "run") as client:
        assert len(client.get_metric_history(run.run_id, "loss")) == 450
        logged = client.get_run(run.run_id).data.params
    assert (logged["depth"], logged["layers"], logged["a_b_"], len(logged["long"])) == ("3", "[1, 2]", "x", 6_000)
    assert mlflow.tracked(run.run_id).metrics == {"loss": 1 / 450, "bad": None}


def test_a_scikit_learn_model_comes_back_as_it_was(mlflow: Mlflow, name: str, tmp_path: Path) -> None:
    run, model = start(mlflow, name), fitted()
    uri = log_model(mlflow, run, pickled(tmp_path, model))
    assert log_model(mlflow, run, tmp_path / "not looked at") == uri
    mlflow.end_run(run.run_id)
    found = start(mlflow, name)
    assert (found.finished, found.model_uri) == (True, uri)
    loaded = mlflow.load_uri(uri)
    assert loaded.classes == ["no", "yes"]
    assert (loaded.probabilities(sample(), ["no", "yes"]) == model.predict_proba(sample())).all()


def test_a_model_of_no_library_comes_back_too(mlflow: Mlflow, name: str, tmp_path: Path) -> None:
    uri = log_model(mlflow, start(mlflow, name), pickled(tmp_path, Constant(0.25)))
    loaded = mlflow.load_uri(uri)
    assert loaded.classes == ["no", "yes"]
    assert loaded.probabilities(sample(), ["no", "yes"]).tolist() == [[0.75, 0.25]] * 4


def test_mlflows_own_loader_gives_probabilities(local: Mlflow, name: str, tmp_path: Path) -> None:
    """Whoever serves the model by MLflow alone gets what Tidemill judged it by."""
    import mlflow as library

    for model in (fitted(), Constant(0.25)):
        run = start(local, name, dag_run=type(model).__name__)
        uri = log_model(local, run, pickled(tmp_path, model))
        with local.calls("loading", uri):
            served = library.pyfunc.load_model(uri)
        rows = sample().assign(time=lambda r: r["time"].dt.tz_localize(None))
        assert served.predict(rows).shape == (4, 2)


def test_a_folder_that_mlflow_wrote_is_logged_as_it_is(local: Mlflow, name: str, tmp_path: Path) -> None:
    import mlflow.sklearn

    mlflow.sklearn.save_model(fitted(), str(tmp_path / "mine"), serialization_format="cloudpickle", pip_requirements=[])
    uri = log_model(local, start(local, name), tmp_path / "mine")
    assert local.load_uri(uri).probabilities(sample(), ["no", "yes"]).shape == (4, 2)


def test_a_model_has_signature_example_and_pinned_requirements(local: Mlflow, name: str, tmp_path: Path) -> None:
    from mlflow.models import Model

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        uri = log_model(local, start(local, name), pickled(tmp_path, fitted()))
    assert not [w for w in caught if "integer column" in str(w.message)]
    folder = next((local.project.state / "mlflow" / "artifacts").rglob("MLmodel")).parent
    header = Model.load(str(folder))
    types = {c.name: (str(c.type), c.required) for c in header.signature.inputs.inputs}
    assert types["gap"] == ("DataType.double", False)
    assert (types["n"], types["text"][1], types["time"][0]) == (("DataType.long", True), False, "DataType.datetime")
    assert len(header.load_input_example(str(folder))) == 4
    pinned = (folder / "requirements.txt").read_text().split()
    assert {p.partition("==")[0] for p in pinned} == {"mlflow", "cloudpickle", "numpy", "pandas", "scikit-learn"}
    assert uri.startswith("models:/m-")


def test_an_unfinished_logged_model_is_replaced(local: Mlflow, name: str, tmp_path: Path) -> None:
    run = start(local, name)
    with local.calls("leaving", "half a model") as client:
        experiment = client.get_run(run.run_id).info.experiment_id
        half = client.create_logged_model(experiment, name="model", source_run_id=run.run_id)
    uri = log_model(local, run, pickled(tmp_path, fitted()))
    with local.calls("reading", "models") as client:
        models = client.search_logged_models([experiment], f"source_run_id = '{run.run_id}'")
    assert [m.model_uri for m in models] == [uri]
    assert half.model_uri != uri


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"not": "a model"}, "the model (builtins.dict) has neither predict nor predict_proba, so it is no model"),
        (
            __import__("sklearn.linear_model").linear_model.LogisticRegression(),
            "the model cannot predict on 4 rows of the holdout: NotFittedError: ",
        ),
    ],
    ids=["no model", "not fitted"],
)
def test_what_is_no_model_is_refused(local: Mlflow, name: str, tmp_path: Path, model: Any, said: str) -> None:
    with pytest.raises(StepError) as e:
        log_model(local, start(local, name), pickled(tmp_path, model))
    assert str(e.value).startswith(said)
    assert not e.value.retry


def test_a_file_that_is_no_pickle_is_refused(local: Mlflow, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_text("hello")
    with pytest.raises(StepError, match=r"the training left \(model.pkl\) cannot be loaded again: UnpicklingError"):
        log_model(local, start(local, name), tmp_path / "model.pkl")


@pytest.fixture
def registered(mlflow: Mlflow, name: str, tmp_path: Path) -> tuple[str, str]:
    """Run id and version of a registered model."""
    run = start(mlflow, name)
    uri = log_model(mlflow, run, pickled(tmp_path, Constant(0.5)))
    return run.run_id, mlflow.register(name, run.run_id, uri, {"tidemill.pipeline": "flights"})


def test_a_run_is_registered_once(mlflow: Mlflow, name: str, registered: tuple[str, str]) -> None:
    run_id, version = registered
    uri = mlflow.tracked(run_id).model_uri
    assert uri is not None
    assert mlflow.register(name, run_id, uri, {"tidemill.pipeline": "flights", "more": "1"}) == version == "1"
    assert mlflow.version_tags(name, "1") == {"tidemill.pipeline": "flights", "more": "1"}
    with mlflow.calls("reading", name) as client:
        assert len(client.search_model_versions(f"name = '{name}'")) == 1
    assert mlflow.load(name, "1").name == f"version 1 of {name}"


def test_an_alias_is_set_read_and_removed(mlflow: Mlflow, name: str, registered: tuple[str, str]) -> None:
    assert mlflow.alias("no-such-model", "champion") is None
    assert mlflow.alias(name, "champion") is None
    mlflow.set_alias(name, "champion", registered[1])
    assert mlflow.alias(name, "champion") == "1"
    for _ in range(2):
        mlflow.delete_alias(name, "champion")
    assert mlflow.alias(name, "champion") is None
    mlflow.delete_alias("no-such-model", "champion")


def test_a_version_that_is_not_there(mlflow: Mlflow, name: str, registered: tuple[str, str]) -> None:
    with pytest.raises(MlflowError, match=rf"reading version 7 \({name}\): not found") as e:
        mlflow.version_tags(name, "7")
    assert not e.value.retry
    with pytest.raises(MlflowError, match="fetching version 7 of"):
        mlflow.load(name, "7")


def test_an_artifact_of_a_version_is_fetched_and_kept(
    mlflow: Mlflow, name: str, registered: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "reference.json").write_text("{}")
    mlflow.log_artifact(registered[0], tmp_path / "reference.json", "tidemill")
    path = mlflow.download(name, "1", "tidemill/reference.json")
    assert path.read_text() == "{}"
    assert path.is_relative_to(mlflow.project.state / "mlflow" / "downloads")
    assert mlflow.download(name, "1", "tidemill/reference.json") == path
    with pytest.raises(MlflowError, match="nothing"):
        mlflow.download(name, "1", "tidemill/nothing.json")


def test_pages_have_addresses_where_there_is_a_server(mlflow: Mlflow, name: str) -> None:
    run = start(mlflow, name)
    if mlflow.uri.startswith("sqlite"):
        assert (mlflow.run_link(run.run_id), mlflow.version_link(name, "1")) == (None, None)
        return
    assert re.fullmatch(rf"{mlflow.uri}/#/experiments/\d+/runs/{run.run_id}", mlflow.run_link(run.run_id) or "")
    assert mlflow.version_link(name, "1") == f"{mlflow.uri}/#/models/{name}/versions/1"


def test_nothing_is_left_in_the_current_folder_or_the_environment(
    local: Mlflow, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(os.environ)
    run = start(local, name)
    local.register(name, run.run_id, log_model(local, run, pickled(tmp_path, Constant(0.5))), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pkl", "state"]
    changed = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}
    assert changed <= {"MLFLOW_DISABLE_TELEMETRY"}


def in_process(source: str, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(HERE), str(HERE / "plugins")])
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTEST_CURRENT_TEST")}
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        env={**environment, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


REGISTER = """
import sys
from pathlib import Path
from tests.mlflow_store import AtServer
from tidemill.project import Project
from tidemill.tools.mlflow import open_mlflow
port, root, model, run_id, uri = sys.argv[1:]
mlflow = open_mlflow(AtServer(int(port)), Project(root=Path(root), state=Path(root) / "state"))
mlflow.alias(model, "champion")
print("ready", flush=True)
sys.stdin.readline()
print(mlflow.register(model, run_id, uri, {"a": "b"}))
"""


def test_two_at_once_register_one_version(mlflow_server: int, project: Project, name: str, tmp_path: Path) -> None:
    mlflow = open_mlflow(AtServer(mlflow_server), project)
    run = start(mlflow, name)
    uri = log_model(mlflow, run, pickled(tmp_path, Constant(0.5)))
    both = [in_process(REGISTER, str(mlflow_server), str(tmp_path), name, run.run_id, uri) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in both]
    assert [out.split() for out, _ in said] == [["1"]] * 2, said
    with mlflow.calls("reading", name) as client:
        assert [str(v.version) for v in client.search_model_versions(f"name = '{name}'")] == ["1"]


def test_a_version_made_beside_another_is_taken_back(
    local: Mlflow, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race itself: this process looked before the other had registered, and creates after it."""
    from tidemill.tools import mlflow as module

    run = start(local, name)
    uri = log_model(local, run, pickled(tmp_path, Constant(0.5)))
    local.register(name, run.run_id, uri, {})
    look, seen = module._version_of_run, []

    def too_early(*arguments: Any) -> str | None:
        seen.append(1)
        return None if len(seen) == 1 else look(*arguments)

    monkeypatch.setattr(module, "_version_of_run", too_early)
    assert local.register(name, run.run_id, uri, {}) == "1"
    with local.calls("reading", name) as client:
        assert [str(v.version) for v in client.search_model_versions(f"name = '{name}'")] == ["1"]


STORE = """
import sys
from pathlib import Path
from tidemill.project import Project
from tidemill.tools.mlflow_calls import local_store
print(local_store(Project(root=Path(sys.argv[1]), state=Path(sys.argv[1]) / "state")))
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(is_telemetry_disabled(), get_telemetry_client())
"""


def test_two_at_once_make_one_local_store_without_telemetry(tmp_path: Path) -> None:
    both = [in_process(STORE, str(tmp_path)) for _ in range(2)]
    for process in both:
        out, error = process.communicate(timeout=120)
        assert out.splitlines() == [f"sqlite:///{tmp_path}/state/mlflow/mlflow.db", "True None"], error
        assert "alembic" not in error
    assert sorted(p.name for p in (tmp_path / "state" / "mlflow").iterdir()) == [".lock", "mlflow.db"]


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(MlflowError, match=r"the MLflow store .*/state/mlflow/mlflow.db cannot be made: "):
        local_store(Project(root=tmp_path, state=tmp_path / "state"))


def test_a_store_of_another_version_says_so(project: Project, store_template: Path, name: str) -> None:
    import sqlite3

    copy_store(store_template, project)
    with sqlite3.connect(project.state / "mlflow" / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    with pytest.raises(MlflowError, match=r"MLflow at sqlite.*mlflow db upgrade"):
        start(open_mlflow(Nowhere(), project), name)


def test_a_server_that_is_down(project: Project) -> None:
    port = free_port()
    started = time.monotonic()
    with pytest.raises(MlflowError) as e:
        start(open_mlflow(AtServer(port), project), "flights")
    assert time.monotonic() - started < 20
    assert e.value.retry
    assert str(e.value).startswith(
        f"MLflow at http://127.0.0.1:{port} (connection tidemill_mlflow), starting the run (flights): it could not "
        "be reached; is the server running, and is the address right? (ConnectionRefusedError: "
    )


def test_a_server_that_never_answers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {name: float(mlflow_calls._SETTINGS[f"MLFLOW_HTTP_REQUEST_{name}"]) for name in ("TIMEOUT", "MAX_RETRIES")}
    assert waits["TIMEOUT"] * (1 + waits["MAX_RETRIES"]) < 20
    monkeypatch.setitem(mlflow_calls._SETTINGS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(MlflowError) as e:
            start(open_mlflow(AtServer(port), project), "flights")
        assert 2 <= time.monotonic() - started < 20
    assert e.value.retry
    assert str(e.value).startswith(
        f"MLflow at http://127.0.0.1:{port} (connection tidemill_mlflow), starting the run (flights): it did not "
        "answer in time; is the server running"
    )


@pytest.fixture
def closed_door() -> Iterator[tuple[int, list[str]]]:
    """A server that lets nobody in; its port, and the logins it was shown."""
    shown: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, shown
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_login_is_shown_to_the_server_and_to_nobody_else(
    project: Project, closed_door: tuple[int, list[str]]
) -> None:
    port, shown = closed_door
    mlflow = open_mlflow(AtServer(port, login="ann", password="s3cret"), project)
    with pytest.raises(MlflowError) as e:
        start(mlflow, "flights")
    assert base64.b64decode(shown[0].removeprefix("Basic ")) == b"ann:s3cret"
    assert "access was denied; check login and password of tidemill_mlflow" in str(e.value)
    assert not e.value.retry
    assert "s3cret" not in str(e.value) + repr(mlflow.connection) + str(os.environ)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"host": "mlflow"}, "http://mlflow"),
        ({"host": "mlflow", "port": 5000}, "http://mlflow:5000"),
        ({"host": "mlflow", "conn_type": "https", "port": 443}, "https://mlflow:443"),
        ({"host": "mlflow", "conn_type": "http", "schema": "https"}, "https://mlflow"),
        ({"host": "https://m.example.org/mlflow/"}, "https://m.example.org/mlflow"),
        ({"host": "https://m.example.org/mlflow", "port": 8443}, "https://m.example.org:8443/mlflow"),
        ({"host": "http://m:5000", "port": 5001}, "http://m:5000"),
        ({"host": "[::1]", "port": 5000}, "http://[::1]:5000"),
        ({"host": "m", "conn_type": "generic"}, "http://m"),
    ],
)
def test_the_address_of_a_connection(given: dict[str, Any], address: str) -> None:
    assert address_of(Connection(**{"conn_id": "tidemill_mlflow", "conn_type": "http", **given})) == address


@pytest.mark.parametrize("host", [None, "", "ftp://mlflow"])
def test_a_connection_that_is_no_address(host: str | None) -> None:
    with pytest.raises(MlflowError, match="the connection tidemill_mlflow"):
        address_of(Connection("tidemill_mlflow", "http", host))


def test_pickles_name_their_modules(tmp_path: Path) -> None:
    from tidemill.tools.packaging import requirements
    from tidemill.tools.pickled import unpickle

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(pd.DataFrame({"a": [1]})))
    model, modules = unpickle(tmp_path / "m.pkl")
    assert isinstance(model, pd.DataFrame)
    assert {"pandas", "numpy"} <= modules
    assert any(r.startswith("polars==") for r in requirements({"polars", "json"}))
    assert any(r.startswith("PyYAML==") for r in requirements({"yaml"}))


def test_an_alias_that_another_process_adds_at_the_same_moment_is_set_all_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    mlflow = open_mlflow(NoConnections(), project)
    asked: list[str] = []

    class Client:
        def set_registered_model_alias(self, model: str, alias: str, version: str) -> None:
            asked.append(version)
            if len(asked) == 1:
                raise MlflowException(
                    "(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.alias"
                )

    monkeypatch.setattr(mlflow, "_connect", Client)
    mlflow.set_alias("flights", "champion", "2")
    assert asked == ["2", "2"]


def test_an_alias_that_cannot_be_set_at_all_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    mlflow = open_mlflow(NoConnections(), project)

    class Client:
        def set_registered_model_alias(self, model: str, alias: str, version: str) -> None:
            raise MlflowException("UNIQUE constraint failed")

    monkeypatch.setattr(mlflow, "_connect", Client)
    with pytest.raises(MlflowError, match="setting the alias champion"):
        mlflow.set_alias("flights", "champion", "2")
