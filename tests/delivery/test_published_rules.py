"""Every kind of delivery pipeline before the rules that its system publishes, and before linters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.delivery.pipelines import PLAIN, against_schema, every_kind, name_of, pipeline_of, scripts_of, tool
from tidemill.delivery.model import SYSTEMS

_BY_THE_SYSTEM = "idToken=; servicePrincipalId=; tenantId=; code=\n"
"""Set by Azure's task and by the workflow, in lower case; of names in upper case shellcheck thinks so itself."""


def written(folder: Path, system: str) -> list[Path]:
    # A schema takes its time for each job: the kinds with one environment, and one of them with two.
    several = next(every_kind(system))
    alone = [replace(delivery, environments=("prod",)) for delivery in every_kind(system)]
    files = []
    for number, delivery in enumerate([several, *alone]):
        file = folder / f"{number}-{name_of(delivery)}.yaml"
        file.write_text(pipeline_of(delivery))
        files.append(file)
    return files


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_kind_keeps_to_the_published_schema(tmp_path: Path, system: str) -> None:
    files = written(tmp_path, system)
    assert len(files) == 29
    said = against_schema(system, *files)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("system", "right", "wrong"),
    [
        ("github", "    runs-on: ubuntu-24.04\n", "    runs_on: ubuntu-24.04\n"),
        ("gitlab", "    - if: $CI_PIPELINE_SOURCE", "    - when: $CI_PIPELINE_SOURCE"),
        ("azure-devops", "    dependsOn: check\n", "    needs: check\n"),
    ],
)
def test_a_mistake_is_seen_by_the_schema(tmp_path: Path, system: str, right: str, wrong: str) -> None:
    delivery = next(every_kind(system))
    text = pipeline_of(delivery)
    assert right in text
    file = tmp_path / "pipeline.yaml"
    file.write_text(text.replace(right, wrong))
    said = against_schema(system, file)
    assert said.returncode == 1, said.stdout + said.stderr


def workflows(folder: Path) -> Path:
    place = folder / ".github" / "workflows"
    place.mkdir(parents=True)
    return place


def findings(folder: Path) -> list[str]:
    said = tool("zizmor", "--offline", "--no-progress", "--quiet", "--format", "json", folder)
    assert said.stdout, said.stderr
    return [finding["ident"] for finding in json.loads(said.stdout)]


def test_zizmor_finds_nothing_in_github_workflows(tmp_path: Path) -> None:
    written(workflows(tmp_path), "github")
    assert findings(tmp_path) == []


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "checkout@v7", "unpinned-uses"),
        ("pip install --requirement", "echo ${{ github.event.pull_request.title }}; pip install", "template-injection"),
    ],
)
def test_what_is_unsafe_is_seen_by_zizmor(tmp_path: Path, right: str, wrong: str, finding: str) -> None:
    text = pipeline_of(PLAIN)
    assert right in text
    (workflows(tmp_path) / "tidemill.yaml").write_text(text.replace(right, wrong))
    assert finding in findings(tmp_path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not on this machine")
@pytest.mark.parametrize("system", SYSTEMS)
def test_shellcheck_finds_nothing_in_the_scripts(tmp_path: Path, system: str) -> None:
    scripts = sorted({script for delivery in every_kind(system) for script in scripts_of(delivery)})
    assert len(scripts) > 10
    for number, script in enumerate(scripts):
        (tmp_path / f"{number}.sh").write_text(_BY_THE_SYSTEM + script)
    # GitLab's images have the shell of Alpine.
    shell = "sh" if system == "gitlab" else "bash"
    exclude = "--exclude=SC2034"  # what is set above, and not used in this script
    said = tool("shellcheck", f"--shell={shell}", exclude, *sorted(tmp_path.glob("*.sh")))
    assert said.returncode == 0, said.stdout
