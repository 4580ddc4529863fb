"""The files around the package: locks, wheel, compose file. Each of these broke, or would, without any test of code."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CUTS = ["requirements.txt", "requirements/demo.txt", "requirements/dev.txt"]


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.partition(";")[0].strip().split("==") for line in lines)


def run(*command: str, home: Path) -> str:
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", CUTS)
def test_a_lock_moves_nothing_that_another_lock_holds(name: str) -> None:
    everything = pins("requirements/all.txt")
    assert pins(name).items() <= everything.items()


@pytest.mark.parametrize("name", [*CUTS, "requirements/all.txt", "requirements/airflow-next.txt"])
def test_a_lock_names_no_registry(name: str) -> None:
    assert not re.search(r"https?://|--index|--find-links", (ROOT / name).read_text())


def test_the_celery_executor_can_be_imported(tmp_path: Path) -> None:
    # celery 5.7 resolved and installed beside the provider, and neither scheduler nor worker started.
    run(sys.executable, "-c", "import airflow.providers.celery.executors.celery_executor", home=tmp_path)


def test_the_wheel_holds_the_package_and_its_entry_points(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("plugins", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        entry_points = ConfigParser()
        entry_points.read_string(wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode())
    assert {"tidemill/__init__.py", "tidemill/py.typed"} <= set(names)
    assert {"tidemill/delivery/templates/github.yaml.j2", "tidemill/infra/aws/modules/bucket/main.tf"} <= set(names)
    assert {n.split("/")[0] for n in names} == {"tidemill", "tidemill-0.1.0.dist-info"}
    for group, name in [("console_scripts", "tidemill"), ("airflow.plugins", "tidemill"), ("pytest11", "tidemill")]:
        module = entry_points[group][name].partition(":")[0]
        assert f"{module.replace('.', '/')}.py" in names


def test_the_compose_file_takes_every_secret_from_the_environment_file() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    asked = dict(re.findall(r"(?<!\$)\$\{([A-Z_]+)((?::[?-][^}]*)?)\}", text)[::-1])
    offered = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line)
    assert asked.keys() - {"AIRFLOW_ADMIN_EMAIL"} == offered.keys()
    for name, value in offered.items():
        assert (":?" in asked[name]) == (value == ""), f"{name}: a secret has no default, a setting has one"


def test_the_compose_file_sets_only_what_airflow_knows(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    airflow = str(Path(sys.executable).with_name("airflow"))
    known = set(re.findall(r"# Variable: (\w+)", run(airflow, "config", "list", "--defaults", home=tmp_path)))
    assert {name for name in compose["x-airflow"]["environment"] if name.startswith("AIRFLOW__")} <= known


def test_compose_secrets_are_fresh_private_and_never_overwritten(tmp_path: Path) -> None:
    def project(name: str) -> tuple[Path, Path]:
        (tmp_path / name / "scripts").mkdir(parents=True)
        script = shutil.copy(ROOT / "scripts/compose-env.sh", tmp_path / name / "scripts")
        shutil.copy(ROOT / ".env.example", tmp_path / name)
        return Path(script), tmp_path / name / ".env"

    written = []
    for name in ("one", "two"):
        script, env = project(name)
        subprocess.run([script], check=True)
        assert stat.S_IMODE(env.stat().st_mode) == 0o600
        written.append(dict(line.split("=", 1) for line in env.read_text().splitlines() if "=" in line))
    secrets = written[0].keys() - {"AIRFLOW_ADMIN_USER", "AIRFLOW_BASE_URL"}
    values = [values[name] for values in written for name in secrets]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 20
    before = env.read_text()
    assert subprocess.run([script], check=False).returncode == 1
    assert env.read_text() == before
