"""The client of Airflow's REST API: logging in, asking again, and saying what is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow_double import PASSWORD, USER, AirflowDouble, serving
from tidemill.cli import airflow_api
from tidemill.cli.airflow_api import AirflowApi, ApiError, Denied, NotFound, Unreachable, connect
from tidemill.cli.local_stack import LocalStack, password_file, write_private


@pytest.fixture
def airflow() -> Iterator[AirflowDouble]:
    with serving(AirflowDouble(dags={"a.b": {"is_paused": False}})) as double:
        yield double


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (airflow_api.URL, airflow_api.USER, airflow_api.PASSWORD):
        monkeypatch.delenv(name, raising=False)


def test_it_logs_in_once_and_again_when_the_token_has_run_out(airflow: AirflowDouble) -> None:
    api = AirflowApi(airflow.url, USER, PASSWORD)
    api.dag("a.b")
    api.dag("a.b")
    assert airflow.logins == 1
    airflow.tokens.clear()
    assert api.dag("a.b") == {"is_paused": False}
    assert airflow.logins == 2


def test_a_wrong_password_is_said_without_saying_it(airflow: AirflowDouble) -> None:
    with pytest.raises(Denied, match="does not accept the login of 'admin'") as caught:
        AirflowApi(airflow.url, USER, "wr0ng-pass").dag("a.b")
    assert "wr0ng-pass" not in str(caught.value)


def test_a_server_that_stumbles_is_asked_again(airflow: AirflowDouble) -> None:
    api = AirflowApi(airflow.url, USER, PASSWORD)
    api.dag("a.b")
    airflow.answers += [500, 503]
    assert api.dag("a.b") == {"is_paused": False}


def test_a_server_that_only_stumbles_is_given_up(airflow: AirflowDouble) -> None:
    airflow.answers += [500] * 99
    with pytest.raises(Unreachable, match="answers 500"):
        AirflowApi(airflow.url, USER, PASSWORD, patience=0.1).health()


def test_nothing_at_the_address_is_said_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"{url} does not answer(.|\n)*make run"):
            AirflowApi(url, USER, PASSWORD, patience=0.1).dag("x")


def test_what_is_not_there_is_not_found(airflow: AirflowDouble) -> None:
    with pytest.raises(NotFound, match="`nobody` was not found"):
        AirflowApi(airflow.url, USER, PASSWORD).dag("nobody")


def test_another_program_at_the_address_is_no_airflow(airflow: AirflowDouble) -> None:
    airflow.answers.append(200)
    with pytest.raises(ApiError, match="no Airflow with a REST API v2"):
        AirflowApi(airflow.url, USER, PASSWORD).health()


def test_ids_are_quoted_in_links(airflow: AirflowDouble) -> None:
    link = AirflowApi("http://x/", USER, PASSWORD).link("a.b", "scheduled__2013-07-01T00:00:00+00:00", "data")
    assert link == "http://x/dags/a.b/runs/scheduled__2013-07-01T00%3A00%3A00%2B00%3A00/tasks/data"


def local(state: Path, url: str = "http://127.0.0.1:1") -> Path:
    write_private(password_file(state), '{"admin": "of the stack"}')
    LocalStack(url, "http://127.0.0.1:2").note(state)
    return state


def test_an_argument_beats_the_environment_and_that_beats_the_local_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect(local(tmp_path)).url == "http://127.0.0.1:1"
    monkeypatch.setenv(airflow_api.URL, "http://elsewhere")
    with pytest.raises(ApiError, match="The login for http://elsewhere is missing: set TIDEMILL_AIRFLOW_USER"):
        connect(tmp_path)  # the local stack's password is not sent to another server
    monkeypatch.setenv(airflow_api.USER, "me")
    monkeypatch.setenv(airflow_api.PASSWORD, "mine")
    assert connect(tmp_path).url == "http://elsewhere"
    assert connect(tmp_path, url="http://third/", user="a", password="b").url == "http://third"


def test_without_any_airflow_it_says_how_to_get_or_name_one(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="Start the local one with `make run`, or name one with TIDEMILL_AIRFLOW_URL"):
        connect(tmp_path)
