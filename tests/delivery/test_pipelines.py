"""What a delivery pipeline does, in which order, as whom, and what it asks of a person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.delivery.pipelines import PLAIN, every_kind, name_of, pipeline_of, scripts_of, told
from tidemill.delivery.model import SYSTEMS, Delivery
from tidemill.delivery.render import files_of

THREE = replace(PLAIN, environments=("dev", "staging", "prod"), known=("dev", "staging", "prod"), branch="release/1")
EVERY = pytest.mark.parametrize("delivery", list(every_kind()), ids=name_of)
_SYSTEMS_OWN = re.compile(r"CI_|BUILD_|SYSTEM_|AGENT_|GITHUB_|ACTIONS_|TF_|AWS_WEB|AWS_ROLE_SESSION|TIDEMILL_")
_GIVEN = {"ENVIRONMENT", "COMMIT", "ID_TOKEN", "NUMBER", "GH_TOKEN", "AUDIENCE", "ARM_CLIENT_ID", "ARM_TENANT_ID"}
"""What the pipeline itself, or a service connection, sets."""

_READ_BY_TOOLS = {
    "ARM_CLIENT_ID",
    "ARM_SUBSCRIPTION_ID",
    "ARM_TENANT_ID",
    "ASTRO_API_TOKEN",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AZURE_STORAGE_ACCOUNT",
}


def document(delivery: Delivery) -> dict[str, Any]:
    found = yaml.safe_load(pipeline_of(delivery))
    assert isinstance(found, dict)
    return found


@EVERY
def test_a_person_is_told_of_every_variable_and_of_none_besides(delivery: Delivery) -> None:
    names = told(delivery)
    scripts = "\n".join(scripts_of(delivery))
    used = {name for name in re.findall(r"\$\{?([A-Z][A-Z_]+)", scripts) if not _SYSTEMS_OWN.match(name)}
    assert used - _GIVEN <= names
    body = pipeline_of(delivery).partition("\n\n")[2]
    if delivery.system == "github":
        assert set(re.findall(r"(?:vars|secrets)\.(\w+)", body)) == names
    else:  # the vendors' command lines read theirs from the environment
        assert names - _READ_BY_TOOLS <= set(re.findall(r"[A-Z][A-Z_]+", body))


@EVERY
def test_no_secret_stands_in_a_file_and_no_foreign_text_in_a_script(delivery: Delivery) -> None:
    for text in files_of(delivery).values():
        assert not re.search(r"AKIA|BEGIN [A-Z ]*PRIVATE|password:|secret:\s+\S+=", text)
        assert set(re.findall(r"secrets\.(\w+)", text)) <= {"ASTRO_API_TOKEN"}
    for script in scripts_of(delivery):
        assert "${{" not in script
        assert not re.search(r"\$\([A-Za-z][\w.]*\)", script)  # a macro of Azure's


@EVERY
def test_only_what_delivers_may_sign_in(delivery: Delivery) -> None:
    text = pipeline_of(delivery)
    signs = any(word in text for word in ("id-token: write", "id_tokens:", "addSpnToEnvironment"))
    assert signs == delivery.signs
    assert ("terraform" in text.lower()) == (delivery.infra is not None)


def test_github_delivers_what_was_merged_environment_after_environment() -> None:
    found = document(THREE)
    assert found[True]["push"] == {"branches": ["release/1"]}  # YAML reads `on` as true
    jobs = found["jobs"]
    assert list(jobs) == ["check", "plan", "deliver-dev", "deliver-staging", "deliver-prod"]
    needs = [jobs[name]["needs"] for name in list(jobs)[1:]]
    assert needs == ["check", "check", "deliver-dev", "deliver-staging"]
    for name in ("dev", "staging", "prod"):
        job = jobs[f"deliver-{name}"]
        assert (job["environment"], job["if"]) == (name, "github.event_name == 'push'")
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
    plan = jobs["plan"]
    assert plan["environment"] == "${{ matrix.environment }}-plan"  # prod's own would wait for its reviewers
    assert "head.repo.full_name == github.repository" in plan["if"]
    assert jobs["check"]["permissions"] == {"contents": "read"}
    runs = [step["run"] for step in jobs["check"]["steps"] if "run" in step]
    assert runs[2:4] == ["tidemill validate --environment dev dags", "tidemill validate --environment staging dags"]


def test_github_uses_few_actions_each_by_its_commit() -> None:
    for delivery in every_kind("github"):
        for line in pipeline_of(delivery).splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_gitlab_delivers_what_was_merged_and_waits_before_the_last() -> None:
    found = document(replace(THREE, system="gitlab"))
    chain = ["check"]
    for name in ("dev", "staging", "prod"):
        for step in ("apply", "deploy"):
            job = found[f"{step} {name}"]
            assert job["needs"] == [chain[-1]]
            assert job["environment"]["name"] == name
            (rule,) = job["rules"]
            assert rule["if"] == '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "release/1"'
            waits = (rule.get("when"), rule.get("allow_failure")) == ("manual", False)
            assert waits == ((step, name) == ("apply", "prod"))
            chain.append(f"{step} {name}")
        assert found[f"plan {name}"]["environment"] == {"name": f"{name}-plan", "action": "access"}
    assert found["plan staging"]["artifacts"]["reports"] == {"terraform": "infra/staging/plan.json"}
    shared = document(replace(PLAIN, system="gitlab"))
    assert shared["plan prod"]["artifacts"]["reports"] == {"terraform": "infra/prod/plan.json"}
    assert [rule["if"] for rule in found[".plan"]["rules"]] == [
        '$CI_PIPELINE_SOURCE == "merge_request_event"',
        '$CI_PIPELINE_SOURCE == "schedule"',
    ]
    without = document(replace(THREE, system="gitlab", infra=None))
    assert without["deploy prod"]["rules"][0]["when"] == "manual"
    assert without["stages"] == ["check", "deliver"]


def test_azure_delivers_what_was_merged_environment_after_environment() -> None:
    found = document(replace(THREE, system="azure-devops", environments=("dev", "pre-prod", "prod")))
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert list(stages) == ["check", "plan", "deliver_dev", "deliver_pre_prod", "deliver_prod"]
    assert [stage.get("dependsOn") for stage in stages.values()] == [
        None, "check", "check", "deliver_dev", "deliver_pre_prod",
    ]  # fmt: skip
    for name in ("dev", "pre-prod", "prod"):
        stage = stages[f"deliver_{name.replace('-', '_')}"]
        assert "'refs/heads/release/1'" in stage["condition"]
        assert "PullRequest" not in stage["condition"]
        (job,) = stage["jobs"]
        assert job["environment"] == name  # its checks hold a deployment job up
        assert {"group": f"tidemill-{name}"} in job["variables"]
    connections = re.findall(r"azureSubscription: (\S+)", pipeline_of(replace(THREE, system="azure-devops")))
    assert set(connections) == {
        *(f"tidemill-{name}" for name in THREE.environments), *(f"tidemill-{name}-plan" for name in THREE.environments)
    }  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_lone_environment_waits_for_a_person(system: str) -> None:
    text = pipeline_of(replace(PLAIN, system=system, environments=("prod",)))
    assert "deployed to prod, which waits for a person" in text.replace("\n# ", " ")


def test_the_image_holds_what_the_specs_need() -> None:
    made = files_of(replace(PLAIN, dags="ml/dags", include="ml/include"))["Dockerfile"]
    assert "COPY --chown=airflow:0 ml/dags ./dags\n" in made
    assert "COPY --chown=airflow:0 ml/include ./include\n" in made
    assert "ENV TIDEMILL_ROOT=/opt/airflow\n" in made
    made = files_of(replace(PLAIN, deploy="astronomer"))["Dockerfile"]
    assert "ENV TIDEMILL_ROOT=/usr/local/airflow\n" in made
    assert made.index("USER root") < made.index("pip install") < made.index("USER astro")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(system: str) -> None:
    delivery = replace(PLAIN, system=system, environments=("no", "on"))

    def values(node: Any) -> Iterator[Any]:
        if isinstance(node, dict | list):
            for one in node.values() if isinstance(node, dict) else node:
                yield from values(one)
        else:
            yield node

    found = [value for value in values(document(delivery)) if isinstance(value, bool)]
    mine = [
        value for value in values(document(replace(delivery, environments=("dev", "prod")))) if isinstance(value, bool)
    ]
    assert found == mine


def test_a_project_without_code_of_its_own_is_deployed_too() -> None:
    bare = replace(PLAIN, include=None, tests=None)
    assert "include" not in files_of(bare)["Dockerfile"].replace("# dags/ and include/ lie", "")
    assert "pytest tests" not in pipeline_of(bare)
    (script,) = {script for script in scripts_of(replace(bare, deploy="sync")) if "aws s3 sync" in script}
    assert script.count("aws s3 sync") == 1
