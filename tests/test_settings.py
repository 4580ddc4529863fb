"""Settings come from the environment or Airflow's configuration file, which is not read twice and not by Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill import settings
from tidemill.errors import TidemillError
from tidemill.settings import allow, configuration_file, environment, setting


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [*os.environ]:
        if name.startswith(("AIRFLOW", "TIDEMILL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path


def configure(home: Path, text: str) -> Path:
    file = home / "airflow.cfg"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_is_set_without_a_file(home: Path) -> None:
    assert setting("allow") == ""
    assert allow() == ()
    assert environment() is None


def test_a_file_is_read_without_interpolation(home: Path) -> None:
    configure(home, "[core]\nparallelism = 4\n[tidemill]\nallow = acme.%(x)s.*,\n  acme.b:c d.E\nEnvironment = prod\n")
    assert allow() == ("acme.%(x)s.*", "acme.b:c", "d.E")
    assert environment() == "prod"


def test_an_edit_is_seen_and_no_edit_costs_no_reading(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = configure(home, "[tidemill]\nenvironment = dev\n")
    assert environment() == "dev"
    before = settings._section.cache_info().misses
    assert environment() == "dev"
    assert settings._section.cache_info().misses == before
    configure(home, "[tidemill]\nenvironment = staging\n")
    assert environment() == "staging"
    file.unlink()
    assert environment() is None


def test_the_environment_goes_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, "[tidemill]\nenvironment = dev\nallow = a.*\n")
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ENVIRONMENT", "staging")
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "")
    assert environment() == "staging"
    assert allow() == ()
    monkeypatch.setenv("TIDEMILL_ENVIRONMENT", "prod")
    assert environment() == "prod"


def test_the_file_may_stand_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "other").mkdir()
    file = configure(home / "other", "[tidemill]\nenvironment = there\n")
    monkeypatch.setenv("AIRFLOW_CONFIG", "$AIRFLOW_HOME/other/airflow.cfg")
    assert configuration_file() == str(file)
    assert environment() == "there"


def test_a_broken_file_is_named_with_its_line(home: Path) -> None:
    file = configure(home, "[tidemill]\nenvironment = a\nnonsense\n")
    with pytest.raises(TidemillError, match=r"line: *3|line +3") as e:
        environment()
    assert str(file) in str(e.value)


def test_airflow_is_not_imported() -> None:
    code = "import sys, tidemill.settings as s; s.allow(); s.environment(); print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
