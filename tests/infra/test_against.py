"""Where specs and infrastructure disagree: what is said, and where on each side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.roots import BATCH, KUBERNETES, SAGEMAKER, WATCHED, changed, needs, written
from tidemill.infra.against import Disagreement, disagreements
from tidemill.infra.needs import InfraProblem

LOCK: Final = ".tidemill-infra.json"
_ROLE: Final = "arn:aws:iam::123456789012:role/team/ml-training"


def told(found: list[Disagreement]) -> list[tuple[str, str]]:
    return [(one.kind, one.what) for one in found]


@pytest.mark.parametrize("spec", [SAGEMAKER, {**SAGEMAKER, **WATCHED}, BATCH, KUBERNETES])
def test_a_root_agrees_with_the_specs_it_was_written_for(spec: dict[str, Any], tmp_path: Path) -> None:
    folder = written(tmp_path, flights=spec)
    assert disagreements(needs(tmp_path, flights=spec), folder) == []
    # Files of people, other values of what is a matter of taste, and other spacing are no disagreement.
    (folder / "own.tf").write_text('resource "aws_sns_topic" "own" {\n  name = "own"\n}\n')
    (folder / "own.auto.tfvars").write_text('prefix = "acme"\nwork_days = 3\nmine = true\n')
    main = (folder / "main.tf").read_text()
    (folder / "main.tf").write_text(main.replace(" = ", "   =   ").replace("#", "//"))
    assert disagreements(needs(tmp_path, flights=spec), folder) == []


def test_what_a_person_set_goes_before_what_was_written(tmp_path: Path) -> None:
    folder = written(tmp_path, flights=SAGEMAKER)
    (folder / "terraform.tfvars").write_text('region = "us-west-2"\nbucket_acme_ml = "other"\n')
    (folder / "z.auto.tfvars").write_text('# where\nregion = "us-east-1"\n')
    (folder / "a.auto.tfvars.json").write_text('{"account": "999999999999"}')
    found = disagreements(needs(tmp_path, flights=SAGEMAKER), folder)
    lines = {one.what: str(one) for one in found}
    assert set(lines) == {"region", "account", "bucket_acme_ml"}
    assert lines["region"] == (
        f'dags/flights.yaml:4 platform.region and {folder}/z.auto.tfvars:2: region is "eu-west-1" in the spec, and '
        '"us-east-1" in the infrastructure'
    )
    assert f"platform.role and {folder}/a.auto.tfvars.json: account" in lines["account"]
    assert f"{folder}/terraform.tfvars:2: bucket_acme_ml is" in lines["bucket_acme_ml"]


@pytest.mark.parametrize(
    ("changes", "kind", "what", "key"),
    [
        ({"platform__queue": "second"}, "different", "queue_second", "platform.queue"),
        ({"platform__bucket": "s3://acme-more"}, "missing", "bucket_acme_more", "platform.bucket"),
        ({"platform__region": "eu-west-3"}, "different", "region", "platform.region"),
        ({"platform__role": _ROLE.replace("ml-", "")}, "different", "role_training", "platform.role"),
        ({"platform__role": _ROLE.replace("1234", "9999")}, "different", "account", "platform.role"),
        ({"platform__existing": ["logs"]}, "superfluous", "logs_batch", None),
        ({"monitor": WATCHED["monitor"]}, "missing", "alarms_flights", "monitor"),
        ({"train__resources__gpu": 1}, "different", "queue_training_machines", None),
    ],
)
def test_a_spec_that_changed_is_told(
    changes: dict[str, Any], kind: str, what: str, key: str | None, tmp_path: Path
) -> None:
    folder = written(tmp_path, flights=BATCH)
    found = disagreements(needs(tmp_path, flights=changed(BATCH, **changes)), folder)
    if key is None and kind == "different":
        assert found == []  # machine types are a matter of taste
        return
    assert (kind, what) in told(found)
    (one,) = (one for one in found if one.what == what and one.kind == kind)
    assert (one.spec is None) == (key is None)
    if key is not None:
        assert f" {key}" in str(one.spec)
        line = int(str(one.spec).split(":")[1].split()[0])
        text = (tmp_path / "project" / "dags" / "flights.yaml").read_text().splitlines()[line - 1]
        assert text.strip().startswith(f"{key.rpartition('.')[2]}:")
    if kind != "missing":
        file, _, line_of = str(one.infra).rpartition(":")
        assert Path(file).is_file()
        assert int(line_of) > 1


def test_a_namespace_that_changed_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path, flights=KUBERNETES)
    (folder / "own.auto.tfvars").write_text('namespace_ml = "ml-prod"\n')
    found = disagreements(needs(tmp_path, flights=KUBERNETES), folder)
    assert told(found) == [("different", "namespace_ml")]
    found = disagreements(needs(tmp_path, flights=changed(KUBERNETES, platform__namespace="other")), folder)
    assert ("different", "namespace_other") in told(found)


def test_an_edit_by_hand_is_told_with_its_line(tmp_path: Path) -> None:
    folder = written(tmp_path, flights=SAGEMAKER)
    text = (folder / "access.tf").read_text()
    (folder / "access.tf").write_text(text.replace('"sagemaker:StopTrainingJob"', '"sagemaker:*"', 1))
    found = disagreements(needs(tmp_path, flights=SAGEMAKER), folder)
    assert [one.kind for one in found] == ["different"]
    assert found[0].what.startswith("airflow_aws_default_")
    assert str(found[0].infra).startswith(f"{folder}/access.tf:")


def test_some_of_the_specs_are_told_of_the_others(tmp_path: Path) -> None:
    """Others may need more, so what only they need is no disagreement."""
    folder = written(tmp_path, flights=SAGEMAKER, ships=changed(SAGEMAKER, platform__bucket="s3://acme-ships"))
    found = disagreements(needs(tmp_path / "2", flights=SAGEMAKER), folder)
    assert told(found) == [("superfluous", "ships")]
    assert f"{folder}/outputs.tf:" in str(found[0])
    found = disagreements(needs(tmp_path / "3", flights=changed(SAGEMAKER, platform__bucket="s3://acme-new")), folder)
    assert ("missing", "bucket_acme_new") in told(found)


def standing(file: Path, **pipelines: Any) -> Path:
    """As ``terraform output -json`` writes it."""
    told = {
        "platform": {"sensitive": False, "type": ["object", dict.fromkeys(pipelines, "string")], "value": pipelines}
    }
    file.write_text(json.dumps({"airflow_aws_default_policies": {"value": {}}, **told}, indent=2) + "\n")
    return file


def test_what_stands_is_compared(tmp_path: Path) -> None:
    folder, asked = written(tmp_path, flights=SAGEMAKER), needs(tmp_path, flights=SAGEMAKER)
    right = {"region": "eu-west-1", "bucket": "s3://acme-ml/flights/", "role": _ROLE, "queue": "of no matter"}
    file = tmp_path / "outputs.json"
    assert disagreements(asked, folder, standing(file, flights=right)) == []
    found = disagreements(asked, folder, standing(file, flights={**right, "bucket": "s3://else"}, old=right))
    assert told(found) == [("different", "bucket"), ("superfluous", "old")]
    assert found[0].message == 'bucket is "s3://acme-ml/flights" in the spec, and "s3://else" stands'
    lines = file.read_text().splitlines()
    assert '"bucket": "s3://else"' in lines[int(str(found[0].infra).rpartition(":")[2]) - 1]
    assert lines[int(str(found[1].infra).rpartition(":")[2]) - 1].strip() == '"old": {'
    assert told(disagreements(asked, folder, standing(file))) == [("missing", "flights")]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"platform": 1}', '{"platform": {"value": {"flights": 1}}}', "\x00"])
def test_outputs_that_are_none_are_told(text: str, tmp_path: Path) -> None:
    folder, file = written(tmp_path, flights=SAGEMAKER), tmp_path / "outputs.json"
    file.write_text(text)
    with pytest.raises(InfraProblem, match="does not hold the outputs of a root"):
        disagreements(needs(tmp_path, flights=SAGEMAKER), folder, file)
    with pytest.raises(InfraProblem, match=r"cannot read .*No such file"):
        disagreements(needs(tmp_path, flights=SAGEMAKER), folder, tmp_path / "absent.json")


def test_what_is_no_root_is_told(tmp_path: Path) -> None:
    asked, empty = needs(tmp_path, flights=SAGEMAKER), tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InfraProblem, match="empty is empty: tidemill infra did not write it"):
        disagreements(asked, empty)
    for missing in (tmp_path / "absent", Path(__file__)):
        with pytest.raises(InfraProblem, match="there is no such folder"):
            disagreements(asked, missing)
    (empty / "main.tf").write_text("")
    with pytest.raises(InfraProblem, match=rf"has no {LOCK}"):
        disagreements(asked, empty)


def test_a_root_of_another_provider_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "k", flights=KUBERNETES)
    with pytest.raises(InfraProblem, match=r"is for kubernetes, and dags/flights\.yaml:\d+ platform\.provider is aws"):
        disagreements(needs(tmp_path, flights=SAGEMAKER), folder)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (LOCK, "{", "is damaged"),
        ("own.auto.tfvars", 'region = "eu', r"own\.auto\.tfvars:1: cannot be read"),
        ("own.auto.tfvars.json", "[", "is no JSON object"),
        ("main.tf", "module {{", r"main\.tf:1: cannot be read"),
        ("extra.tf", "\udcff", "is not written in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_told(name: str, text: str, problem: str, tmp_path: Path) -> None:
    folder = written(tmp_path, flights=SAGEMAKER)
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InfraProblem, match=problem):
        disagreements(needs(tmp_path, flights=SAGEMAKER), folder)
