"""``tidemill infra``, as it is typed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tests.infra.roots import BATCH, KUBERNETES, SAGEMAKER, changed, project


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_root_is_written_and_written_again(
    tidemill: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # Terraform is not needed
    dags = project(tmp_path, flights=SAGEMAKER)
    said = tidemill("infra", "dags/flights.yaml", "--output", "infra", cwd=dags.parent)
    assert said.code == 0, said.err
    assert "wrote infra/main.tf" in said.out
    assert "aws, 1 pipeline; infra/README.md says what is created" in said.out
    before = tree(dags.parent / "infra")
    assert {
        "main.tf",
        "access.tf",
        "variables.tf",
        "outputs.tf",
        "versions.tf",
        "backend.tf",
        "README.md",
    } < before.keys()
    said = tidemill("infra", "dags", "--output", "infra")
    assert said.out == "infra: nothing to change (aws, 1 pipeline)\n"
    assert tree(dags.parent / "infra") == before
    assert tidemill("infra", "dags", "--output", "infra", "--check").code == 0


def test_check_shows_a_difference_and_writes_nothing(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER)
    tidemill("infra", "dags", "--output", "infra", cwd=dags.parent)
    before = tree(dags.parent / "infra")
    project(tmp_path, flights=changed(SAGEMAKER, platform__bucket="s3://acme-ml-2"))
    said = tidemill("infra", "dags", "--output", "infra", "--check")
    assert said.code == 1
    assert '+  default     = "acme-ml-2"' in said.out
    assert "the same command without --check writes it" in said.err
    assert tree(dags.parent / "infra") == before
    told = tidemill("infra", "dags", "--output", "infra", "--check", "--json")
    assert (told.code, told.json["same"], told.json["new"]) == (1, False, [])
    assert "main.tf" in told.json["changed"]


def test_an_edit_needs_force(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER)
    tidemill("infra", "dags", "--output", "infra", cwd=dags.parent)
    file = dags.parent / "infra" / "main.tf"
    file.write_text(file.read_text() + "# mine\n")
    said = tidemill("infra", "dags", "--output", "infra")
    assert said.code == 1
    assert "infra: main.tf would be replaced" in said.err
    assert tidemill("infra", "dags", "--output", "infra", "--force").code == 0
    assert "# mine" not in file.read_text()
    assert tidemill("infra", "dags", "--output", "infra", "--force", "--check").code == 1


def test_the_order_and_the_way_of_naming_change_nothing(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER, ships=BATCH)
    tidemill("infra", "dags", "--output", "a", cwd=dags.parent)
    tidemill("infra", dags / "ships.yaml", dags / "flights.yaml", "--output", tmp_path / "b", cwd=tmp_path)
    assert tree(dags.parent / "a") == tree(tmp_path / "b")


def test_two_providers_in_one_call_are_refused(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER, ships=KUBERNETES)
    said = tidemill("infra", dags, "--output", tmp_path / "out", cwd=tmp_path)
    assert said.code == 1
    assert "several providers: aws (dags/flights.yaml:3 platform.provider), kubernetes" in said.err
    assert not (tmp_path / "out").exists()


def test_mistakes_in_a_spec_are_told_as_validate_tells_them(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=changed(SAGEMAKER, platform__existing=["namespace"]))
    said = tidemill("infra", dags, "--output", tmp_path / "out", cwd=dags.parent)
    assert said.code == 1
    assert "platform.existing[0]: nothing of that kind is created for aws" in said.err
    assert "dags/flights.yaml:" in said.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--output", "dags/flights.yaml"], "is a file; --output names a folder"),
        (["--output", "dags/flights.yaml/x"], "choose another --output"),
        (["--output", "out", "--prefix", "Tide_mill"], "2 to 32 characters"),
        (["--output", "out", "--prefix", "a" * 40], "2 to 32 characters"),
        (["--output", "out", "--environment", "9 lives"], "begin with a letter"),
        (["--output", "out", "--place", "1"], "--place 1: no spec here has so many places"),
    ],
)
def test_what_cannot_be_done_is_told(options: list[str], told: str, tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER)
    said = tidemill("infra", "dags", *options, cwd=dags.parent)
    assert said.code == 1
    assert told in said.err
    assert not (dags.parent / "out").exists()


def test_an_environment_has_its_own_names(tidemill: CommandLine, tmp_path: Path) -> None:
    overlay = {"prod": {"platform": {"bucket": "s3://acme-ml-prod"}}}
    dags = project(tmp_path, flights={**SAGEMAKER, "environments": overlay})
    said = tidemill(
        "infra", "dags", "--output", "out", "--environment", "prod", "--prefix", "tidemill-prod", cwd=dags.parent
    )
    assert said.code == 0, said.err
    text = (dags.parent / "out" / "variables.tf").read_text()
    assert 'default     = "acme-ml-prod"' in text
    assert 'default     = "tidemill-prod"' in text


def test_a_matrix_is_a_pipeline_for_each_row(tidemill: CommandLine, tmp_path: Path) -> None:
    spec = {**SAGEMAKER, "matrix": {"eu": {"note": "a"}, "us": {"note": "b"}}}
    dags = project(tmp_path, flights=spec)
    said = tidemill("infra", "dags", "--output", "out", "--json", cwd=dags.parent)
    assert said.code == 0, said.err
    assert said.json["pipelines"] == ["flights.eu", "flights.us"]


def test_help_has_an_example(tidemill: CommandLine) -> None:
    said = tidemill("infra", "--help")
    assert "tidemill infra dags/ --output infra/" in said.out


def test_a_hundred_specs_have_one_module_for_each_need(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, **{f"flights_{n:03}": SAGEMAKER if n % 2 else BATCH for n in range(100)})
    begun = time.process_time()
    said = tidemill("infra", "dags", "--output", "out", cwd=dags.parent)
    # The processor's time, not the clock's: what else the machine does is no matter.
    assert time.process_time() - begun < 10
    assert said.code == 0, said.err
    assert "aws, 100 pipelines" in said.out
    modules = sorted(path.name for path in (dags.parent / "out" / "modules").iterdir())
    assert modules == ["airflow", "bucket", "key", "logs", "machines", "queue", "repository", "role"]
    main = (dags.parent / "out" / "main.tf").read_text()
    assert main.count('module "') == 10
    before = tree(dags.parent / "out")
    assert tidemill("infra", "dags", "--output", "out").out == "out: nothing to change (aws, 100 pipelines)\n"
    assert (tidemill("infra", "dags", "--output", "out", "--check").out, tree(dags.parent / "out")) == ("", before)
    assert tidemill("validate", "dags", "--against", "out").code == 0


def test_an_environment_is_told_by_names_and_tags(tidemill: CommandLine, tmp_path: Path) -> None:
    """Where specs have no overlays, environments differ by the values that are set for each root."""
    dags = project(tmp_path, flights=changed(SAGEMAKER, owner="Ops Research", platform__tags={"cost-centre": "4711"}))
    for name in ("dev", "prod"):
        said = tidemill("infra", "dags", "--environment", name, "--output", f"infra/{name}", cwd=dags.parent)
        assert said.code == 0, said.err
    dev, prod = (tree(dags.parent / "infra" / name) for name in ("dev", "prod"))
    assert {path for path in dev if dev[path] != prod[path]} == {"variables.tf", "README.md", ".tidemill-infra.json"}
    told = prod["variables.tf"].decode()
    for line in (
        'default     = "tidemill-prod"',
        'tidemill-environment = "prod"',
        'tidemill-owner       = "ops-research"',
        'tidemill-pipeline    = "flights"',
        'cost-centre          = "4711"',
    ):
        assert line in told


def test_where_specs_have_overlays_no_other_environment_is_known(tidemill: CommandLine, tmp_path: Path) -> None:
    overlay = {"environments": {"prod": {"platform": {"bucket": "s3://acme-ml-prod"}}}}
    dags = project(tmp_path, flights={**SAGEMAKER, **overlay})
    said = tidemill("infra", "dags", "--environment", "prod", "--output", "out", cwd=dags.parent)
    assert said.code == 0, said.err
    said = tidemill("infra", "dags", "--environment", "prd", "--output", "out")
    assert said.code == 1
    assert 'no file knows the environment "prd"; known: prod' in said.err


def test_validate_says_where_specs_and_infrastructure_disagree(tidemill: CommandLine, tmp_path: Path) -> None:
    dags = project(tmp_path, flights=SAGEMAKER)
    tidemill("infra", "dags", "--output", "infra", cwd=dags.parent)
    said = tidemill("validate", "dags", "--against", "infra")
    assert (said.code, said.out) == (0, "1 pipeline checked, no mistakes\n")
    (dags.parent / "infra" / "own.auto.tfvars").write_text('region = "us-east-1"\n')
    said = tidemill("validate", "dags", "--against", "infra")
    assert said.code == 1
    assert "dags/flights.yaml:4 platform.region and infra/own.auto.tfvars:1: region is" in said.out
    told = tidemill("validate", "dags", "--against", "infra", "--json")
    assert (told.code, told.json["ok"], told.json["against"]) == (1, False, "infra")
    assert told.json["disagreements"][0] == {
        "kind": "different",
        "what": "region",
        "spec": "dags/flights.yaml:4 platform.region",
        "infra": "infra/own.auto.tfvars:1",
        "message": 'region is "eu-west-1" in the spec, and "us-east-1" in the infrastructure',
    }
    said = tidemill("validate", "dags", "--outputs", "outputs.json")
    assert (said.code, "--outputs goes with --against" in said.err) == (1, True)
    said = tidemill("validate", "dags", "--against", "dags")
    assert (said.code, "has no .tidemill-infra.json" in said.err) == (1, True)
