"""``tidemill ci``: what it writes into a repository, what it refuses, and that its checks run there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command_line import CommandLine
from tidemill.cli.new import PROVIDERS, write
from tidemill.delivery.model import SYSTEMS
from tidemill.delivery.render import FILES


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project, for tests that write nothing into it."""
    folder = tmp_path_factory.mktemp("project")
    write("churn", "local", folder)
    return folder


def overlays(folder: Path, **environments: str) -> None:
    """Give the starter's spec overlays, as YAML by environment."""
    spec = folder / "dags" / "churn.yaml"
    lines = "".join(f"  {name}: {overlay}\n" for name, overlay in environments.items())
    spec.write_text(f"{spec.read_text()}\nenvironments:\n{lines}")


@pytest.mark.parametrize(
    ("provider", "system"),
    [*((provider, "github") for provider in PROVIDERS), ("aws", "gitlab"), ("aws", "azure-devops")],
)
def test_a_new_pipeline_gets_delivered(tmp_path: Path, provider: str, system: str, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", provider, cwd=tmp_path)
    before = files_in(tmp_path)
    said = tidemill("ci", system)
    assert said.code == 0, said.err
    written = files_in(tmp_path).keys() - before.keys()
    assert written == {FILES[system], "requirements.txt", "Dockerfile", f".tidemill-ci-{system}.json"}
    assert {line.split()[1] for line in said.out.splitlines() if line.startswith("wrote ")} == {
        name for name in written if not name.startswith(".tidemill-ci")
    }
    text = (tmp_path / FILES[system]).read_text()
    assert "tidemill validate dags" in text
    assert "python -m pytest tests" in text
    assert ("terraform" in text) == ("tidemill infra" in text) == (provider != "local")
    needed = (tmp_path / "requirements.txt").read_text()
    assert (f"[{provider}]" in needed) == (provider != "local")


def test_the_checks_of_the_pipeline_run_in_a_new_repository(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    tidemill("ci", "github")
    for name in ("dev", "prod"):
        tidemill("infra", "dags", "--environment", name, "--output", f"infra/{name}")
    jobs = yaml.safe_load((tmp_path / FILES["github"]).read_text())["jobs"]
    commands = [step["run"] for step in jobs["check"]["steps"] if "run" in step][1:]  # the first one installs
    validates, compares, last, tests = commands
    assert validates == "tidemill validate dags"
    assert compares == "tidemill infra dags --environment dev --output infra/dev --check"
    assert last == compares.replace("dev", "prod")

    def run(command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    for command in (validates, compares, last):
        done = run(command)
        assert done.returncode == 0, done.stdout + done.stderr
    # The tests are those of `tidemill new`, which run elsewhere: that they are found is enough here.
    assert "4 tests collected" in run(f"{tests} --collect-only -q").stdout
    spec = tmp_path / "dags" / "churn.yaml"
    spec.write_text(spec.read_text().replace("s3://acme-ml ", "s3://acme-two"))
    assert run(validates).returncode == 0
    assert run(compares).returncode == 1
    spec.write_text(spec.read_text().replace("schedule: monthly", "schedule: mothly"))
    assert run(validates).returncode == 1


@pytest.mark.parametrize(("deploy", "extra"), [("sync", set()), ("astronomer", {"Dockerfile", ".astro/config.yaml"})])
def test_each_way_to_deploy_gets_its_files(tmp_path: Path, deploy: str, extra: set[str], tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    before = files_in(tmp_path)
    assert tidemill("ci", "github", "--deploy", deploy).code == 0
    common = {FILES["github"], "requirements.txt", ".tidemill-ci-github.json"}
    assert files_in(tmp_path).keys() - before.keys() == common | extra


def test_the_same_input_gives_the_same_bytes_and_check_says_so(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    said = tidemill("ci", "gitlab", "--check")
    assert said.code == 1
    assert "+++ b/.gitlab-ci.yml" in said.out
    assert not (tmp_path / ".gitlab-ci.yml").exists()
    tidemill("ci", "gitlab")
    first = files_in(tmp_path)
    assert "nothing to change" in tidemill("ci", "gitlab").out
    assert tidemill("ci", "gitlab", "--check").code == 0
    assert files_in(tmp_path) == first
    said = tidemill("ci", "gitlab", "--check", "--environment", "qa")
    assert said.code == 1
    assert "+deploy qa:" in said.out
    assert files_in(tmp_path) == first
    assert tidemill("ci", "gitlab", "--check", "--force").code == 1


def test_what_was_changed_by_hand_is_not_replaced(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    tidemill("ci", "github")
    workflow = tmp_path / FILES["github"]
    workflow.write_text(workflow.read_text().replace("timeout-minutes: 30", "timeout-minutes: 45"))
    mine = workflow.read_text()
    said = tidemill("ci", "github", "--environment", "live")
    assert said.code == 1
    assert "tidemill ci github" in said.err
    assert workflow.read_text() == mine
    assert "-    timeout-minutes: 45" in tidemill("ci", "github", "--check").out
    assert tidemill("ci", "github", "--force").code == 0
    assert "timeout-minutes: 45" not in workflow.read_text()


def test_the_files_of_a_person_stay(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    (tmp_path / "requirements.txt").write_text("tidemill==9\n")
    (tmp_path / ".gitlab-ci.yml").write_text("mine: {script: [echo]}\n")
    said = tidemill("ci", "gitlab")
    assert said.code == 1
    assert ".gitlab/own.yml" in said.err  # where it may move to
    assert not (tmp_path / "Dockerfile").exists()
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "mine: {script: [echo]}\n"
    assert tidemill("ci", "github", "--force").code == 0
    assert (tmp_path / "requirements.txt").read_text() == "tidemill==9\n"


def test_systems_and_terraform_keep_out_of_each_others_way(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    for system in SYSTEMS:
        assert tidemill("ci", system).code == 0
    tidemill("infra", "dags", "--output", ".")
    for system in SYSTEMS:
        assert tidemill("ci", system, "--check").code == 0
    assert tidemill("infra", "dags", "--output", ".", "--check").code == 0


def test_environments_are_those_of_the_specs(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    overlays(tmp_path, prod="{schedule: daily}", staging="{schedule: weekly}", dev="{owner: you}")
    said = tidemill("ci", "gitlab", "--json")
    assert said.json["environments"] == ["dev", "staging", "prod"]
    text = (tmp_path / ".gitlab-ci.yml").read_text()
    assert "    - tidemill validate --environment staging dags\n" in text
    said = tidemill("ci", "gitlab", "--environment", "staging", "--environment", "prod", "--json")
    assert said.json["environments"] == ["staging", "prod"]
    said = tidemill("ci", "gitlab", "--environment", "prd")
    assert said.code == 1
    assert 'no file knows the environment "prd"; known: dev, prod, staging' in said.err


def test_environments_that_differ_get_a_root_each(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    overlays(tmp_path, dev="{platform: {bucket: 's3://acme-dev'}}", prod="{schedule: daily}")
    said = tidemill("ci", "github")
    for name in ("dev", "prod"):
        command = f"tidemill infra dags --environment {name} --output infra/{name}"
        assert f"next:  {command}\n" in said.out
        assert tidemill(*command.split()[1:]).code == 0
        assert f"      - run: {command} --check\n" in (tmp_path / FILES["github"]).read_text()
        assert tidemill(*command.split()[1:], "--check").code == 0
    bucket = "acme-dev"
    assert bucket in (tmp_path / "infra" / "dev" / "variables.tf").read_text()
    assert bucket not in (tmp_path / "infra" / "prod" / "variables.tf").read_text()


def test_an_environment_without_a_cloud_has_no_terraform(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    spec = tmp_path / "dags" / "churn.yaml"
    text = spec.read_text()
    cloud = text[text.index("  provider: aws") : text.index("\ndata:")]
    service = text[text.index("  service: sagemaker") : text.index("  params:")]
    nested = [
        f"    {line}" for line in ["platform:", *cloud.splitlines(), "train:", *service.splitlines()] if line.strip()
    ]
    text = text.replace(cloud, "  provider: local\n").replace(service, "")
    spec.write_text("\n".join([text, "environments:", "  dev: {owner: me}", "  prod:", *nested, ""]))
    said = tidemill("ci", "github")
    assert said.code == 1
    assert "in dev these specs run on this machine" in said.err
    assert tidemill("ci", "github", "--environment", "prod", "--json").json["infra"] == "infra"
    assert tidemill("ci", "gitlab", "--no-infra", "--json").json["provider"] == "aws"


def test_a_mistake_in_an_overlay_is_found_before_anything_is_written(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    overlays(tmp_path, prod="{schedule: mothly}")
    before = files_in(tmp_path)
    said = tidemill("ci", "github")
    assert said.code == 1
    assert "dags/churn.yaml:" in said.err
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["jenkins"], "choose one of github, gitlab, azure-devops"),
        (["github", "nowhere"], "there is no nowhere"),
        (["github", "include"], "no spec below include"),
        (["github", "--deploy", "ftp"], "choose one of astronomer, image, sync"),
        (["github", "--deploy", "sync"], "these specs run on local"),
        (["github", "--infra", "infra"], "need no infrastructure"),
        (["github", "--infra", "infra", "--no-infra"], "exclude each other"),
        (["github", "--environment", "a b"], 'the environment "a b"'),
        (["github", "--environment", "${{ secrets.X }}"], "letters, digits"),
        (["github", "--environment", "production-of-the-north-2"], "at most 23"),
        (["github", "--environment", "dev", "--environment", "Dev"], "two environments have one name"),
        (["github", "--branch", "main']; x"], "--branch"),
        (["github", "--output", "dags/churn.yaml"], "is a file"),
        (["github", "--output", "include"], "lies outside of include"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    project: Path, options: list[str], words: str, tidemill: CommandLine
) -> None:
    before = files_in(project)
    said = tidemill("ci", *options, cwd=project)
    assert said.code == 1
    assert words in said.err
    written = {name for name in files_in(project).keys() - before.keys() if not name.startswith(".tidemill/cache/")}
    assert not written


def test_folders_with_odd_names_are_refused(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    said = tidemill("ci", "github", "--infra", "infra; rm -rf x")
    assert said.code == 1
    assert "stands in scripts" in said.err


def test_specs_of_two_providers_are_refused(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", "--provider", "aws", cwd=tmp_path)
    tidemill("new", "fraud", "--provider", "gcp")
    said = tidemill("ci", "github")
    assert said.code == 1
    assert "aws (dags/churn.yaml), gcp (dags/fraud.yaml)" in said.err
    (tmp_path / "dags" / "fraud.yaml").unlink()
    tidemill("new", "here")  # on this machine: no provider to sign in to
    assert tidemill("ci", "github", "--json").json["provider"] == "aws"


def test_a_lock_of_somebody_else_removes_nothing(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    lock = tmp_path / ".tidemill-ci-github.json"
    lock.write_text(json.dumps({"format": 1, "files": {"../other": "0", "/etc/hostname": "0"}}))
    assert tidemill("ci", "github").code == 0
    lock.write_text("{")
    said = tidemill("ci", "github")
    assert said.code == 1
    assert "is damaged" in said.err
