"""What specs need, and what stands in the root for it: each thing once, with its places, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.roots import BATCH, KUBERNETES, SAGEMAKER, WATCHED, changed, needs, root
from tidemill.infra.elsewhere import at_place
from tidemill.infra.generate import files_of, root_of
from tidemill.infra.needs import InfraProblem
from tidemill.infra.root import Root
from tidemill.spec.errors import SpecErrors


def calls(made: Root) -> list[str]:
    """The modules that a root calls, by label."""
    found = [block.labels[0] for block in made.main if getattr(block, "kind", "") == "module"]
    return sorted(found)


def test_a_training_on_sagemaker_needs_no_more(tmp_path: Path) -> None:
    assert calls(root(tmp_path, flights=SAGEMAKER)) == [
        "airflow_aws_default", "bucket_acme_ml", "key", "logs_sagemaker", "repository_flights", "role_ml_training",
    ]  # fmt: skip


def test_batch_has_queues_and_their_machines(tmp_path: Path) -> None:
    made = root(tmp_path, flights=BATCH)
    assert [label for label in calls(made) if label.startswith(("queue", "machines", "logs"))] == [
        "logs_batch", "machines", "queue_training", "queue_training_spot",
    ]  # fmt: skip
    assert made.variables["queue_training_max_vcpus"].default == 4
    assert made.variables["batch_subnets"].default is None


def test_a_monitor_has_alarms_that_say_what_it_says(tmp_path: Path) -> None:
    (block,) = (b for b in root(tmp_path, flights={**SAGEMAKER, **WATCHED}).main if b.labels == ("alarms_flights",))
    told: dict[str, Any] = {item.name: item.value for item in block.body}
    assert told["dimensions"] == {"dag_id": "flights.monitor", "model": "flights"}
    rules = {name: (a["metric"], a["comparison"], a["threshold"]) for name, a in told["alarms"].items()}
    assert rules == {
        "drift": ("drifted", "GreaterThanOrEqualToThreshold", 1),
        "roc_auc-low": ("metric_high.roc_auc", "LessThanThreshold", 0.68),
        "log_loss-high": ("metric_low.log_loss", "GreaterThanThreshold", 0.6),
    }


def test_what_is_there_is_used_and_not_created(tmp_path: Path) -> None:
    words = ["bucket", "role", "queue", "spot_queue", "image", "logs"]
    made = root(tmp_path, flights=changed(BATCH, platform__existing=words))
    assert calls(made) == ["airflow_aws_default"]
    assert [one.what for one in made.used] == [
        "bucket", "log group", "image repository", "queue", "queue of spot machines", "role of jobs",
    ]  # fmt: skip
    # The policies name them all the same.
    told = str(made.policies["airflow_aws_default_train"])
    assert "job-queue/training" in told
    assert "bucket_acme_ml" in told


def test_pipelines_share_what_they_share(tmp_path: Path) -> None:
    specs = {f"flights_{n}": SAGEMAKER for n in range(3)}
    one, three = needs(tmp_path / "a", flights_0=SAGEMAKER), needs(tmp_path / "b", **specs)
    assert calls(root_of(one, "tidemill")) == calls(root_of(three, "tidemill"))
    (bucket,) = (b for b in root_of(three, "tidemill").main if b.labels == ("bucket_acme_ml",))
    assert bucket.comment.splitlines() == [
        f"dags/flights_{n}.yaml:{line}" for n in range(3) for line in _places(tmp_path / "b", f"flights_{n}")
    ]


def _places(folder: Path, name: str) -> list[str]:
    lines = (folder / "project" / "dags" / f"{name}.yaml").read_text().splitlines()
    at = {
        key: next(n for n, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:"))
        for key in ("bucket", "checkpoint")
    }
    return [f"{at['bucket']} platform.bucket", f"{at['checkpoint']} train.resources.spot.checkpoint"]


def test_each_place_is_the_line_that_asked(tmp_path: Path) -> None:
    files = files_of(needs(tmp_path, flights=changed(SAGEMAKER, platform__tags={"team": "ml"})), "tidemill")
    lines = (tmp_path / "project" / "dags" / "flights.yaml").read_text().splitlines()
    found = re.findall(r"# dags/flights\.yaml:(\d+) ([\w.]+)", files["main.tf"])
    assert len(found) >= 6
    for line, path in found:
        key = path.rpartition(".")[2]
        # Keys with a default stand where their section begins.
        assert lines[int(line) - 1].strip().startswith((f"{key}:", "platform:")), (line, path)


def test_a_new_spec_leaves_the_names_of_the_others(tmp_path: Path) -> None:
    """Renaming a module would have Terraform destroy what it made."""
    before = set(calls(root(tmp_path / "a", flights=SAGEMAKER)))
    another = changed(
        SAGEMAKER,
        platform__bucket="s3://aaa",
        train__resources__spot=None,
        platform__role="arn:aws:iam::123456789012:role/a",
    )
    assert before <= set(calls(root(tmp_path / "b", aaa=another, flights=SAGEMAKER)))


def test_data_versions_are_not_ended_by_age(tmp_path: Path) -> None:
    def bucket(folder: Path, **specs: dict[str, Any]) -> dict[str, Any]:
        (block,) = (b for b in root(folder, **specs).main if b.labels == ("bucket_acme_ml",))
        return {item.name: item.value for item in block.body}

    plain = bucket(tmp_path / "a", flights=SAGEMAKER)
    assert plain["days"] == {"checkpoints/": "var.checkpoint_days", "flights/tidemill/": "var.work_days"}
    assert plain["owns_lifecycle"] is True
    kept = changed(SAGEMAKER, data__version="object-store")
    found = bucket(tmp_path / "b", flights=SAGEMAKER, ships=kept)
    assert found["days"] == {"checkpoints/": "var.checkpoint_days"}
    assert found["owns_lifecycle"] is True
    ended = bucket(tmp_path / "c", flights=changed(kept, data__keep="1 year"))
    assert ended["owns_lifecycle"] is False
    everywhere = changed(SAGEMAKER, train__resources__spot__checkpoint="s3://acme-ml")
    assert bucket(tmp_path / "d", flights=everywhere)["days"] == {"flights/tidemill/": "var.work_days"}


def test_an_image_of_somebody_else_makes_no_repository(tmp_path: Path) -> None:
    theirs = changed(SAGEMAKER, train__image="999999999999.dkr.ecr.eu-west-1.amazonaws.com/base/ml@sha256:" + "0" * 64)
    made = root(tmp_path, flights=theirs)
    assert not [label for label in calls(made) if label.startswith("repository")]
    # It is pulled all the same.
    assert "999999999999:repository/base/ml" in str(made.policies["role_ml_training_image"])
    assert (
        "role_ml_training_image" not in root(tmp_path / "2", flights=changed(SAGEMAKER, train__image="a/b:1")).policies
    )


def test_what_runs_here_needs_nothing(tmp_path: Path) -> None:
    local = changed(SAGEMAKER, platform={"provider": "local"}, train={"code": "include.flights.train:train"})
    assert [p.name for p in needs(tmp_path, flights=SAGEMAKER, here=local).pipelines] == ["flights"]
    with pytest.raises(InfraProblem, match=r"platform\.provider is local"):
        needs(tmp_path / "2", here=local)


PROBLEMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "two providers": ({"a": SAGEMAKER, "b": KUBERNETES}, r"of several providers: aws \(.*a\.yaml:3.*b\.yaml:3"),
    "two regions": (
        {"a": SAGEMAKER, "b": changed(SAGEMAKER, platform__region="us-east-1")},
        r"several regions: eu-west-1 .*us-east-1",
    ),
    "two accounts": (
        {"a": SAGEMAKER, "b": changed(SAGEMAKER, platform__role="arn:aws:iam::999999999999:role/x")},
        r"several accounts: 123456789012 .*999999999999",
    ),
    "China": (
        {
            "a": changed(
                SAGEMAKER,
                platform__role="arn:aws-cn:iam::123456789012:role/x",
                platform__region="cn-north-1",
                train__image="registry.example.org/flights:1",
            )
        },
        r"a\.yaml:\d+ platform\.role: nothing is written for AWS in China",
    ),
    "two clusters": (
        {"a": KUBERNETES, "b": changed(KUBERNETES, platform__connection="other")},
        "several clusters: kubernetes_default",
    ),
    "there, and not there": (
        {"a": SAGEMAKER, "b": changed(SAGEMAKER, platform__existing=["bucket"])},
        r"b\.yaml:\d+ platform\.existing says that acme-ml is there, .*a\.yaml:\d+ platform\.bucket does not",
    ),
    "one name for two": (
        {"a": SAGEMAKER, "b": changed(SAGEMAKER, platform__bucket="s3://acme.ml", train__resources__spot=None)},
        "acme.ml and acme-ml would both be bucket_acme_ml",
    ),
    "a connection's long name": (
        {"a": changed(SAGEMAKER, platform__connection="c" * 120)},
        r"an IAM policy's name has 128 at most: shorten it",
    ),
    "a queue's long name": (
        {"a": changed(BATCH, platform__queue="q" * 120)},
        r"name \(Terraform adds 27\) has 101 at most",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_fits_no_root_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    specs, told = PROBLEMS[name]
    with pytest.raises(InfraProblem, match=told):
        root(tmp_path, **specs)


@pytest.mark.parametrize(
    ("existing", "told"),
    [
        (["namespace"], "nothing of that kind is created for aws"),
        (["queue"], "platform names no queue"),
        (["buckets"], "existing"),
    ],
)
def test_a_word_for_what_is_there_is_checked(existing: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match=told):
        needs(tmp_path, flights=changed(SAGEMAKER, platform__existing=existing))


def test_airflow_may_do_on_kubernetes_what_it_does(tmp_path: Path) -> None:
    """The calls in the code, and the verbs of Kubernetes' API for them."""
    from tidemill.infra.kubernetes.render import AIRFLOW
    from tidemill.platforms import kubernetes

    text = "".join(file.read_text() for file in Path(kubernetes.__path__[0]).glob("*.py"))
    called = set(re.findall(r"\.(\w+?)_namespaced_(\w+)\b", text))
    assert len(called) >= 5
    verbs = {(verb.replace("read", "get"), f"{resource}s") for verb, resource in called}
    assert {(verb, resource) for _, resource, allowed in AIRFLOW for verb in allowed} == verbs


def test_kubernetes_has_what_its_pods_need(tmp_path: Path) -> None:
    made = root(tmp_path, flights=KUBERNETES, ships=changed(KUBERNETES, train__resources={"cpu": 1, "count": 3}))
    assert calls(made) == ["account_ml_training", "airflow_ml", "namespace_ml", "network_ml", "quota_ml"]
    # Of memory not all say how much they take: a quota of it would refuse their pods.
    assert made.variables["quota_ml"].default == {"pods": "4", "requests.cpu": "5"}
    (network,) = (b for b in made.main if b.labels == ("network_ml",))
    told: dict[str, Any] = {item.name: item.value for item in network.body}
    assert (told["reaches_store"], told["reaches_peers"]) == (True, True)


def test_other_places_have_roots_of_their_own(tmp_path: Path) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/flights:1"
    elsewhere = [{"region": "us-east-1", "bucket": "s3://acme-ml-us", "image": image}]
    spec = changed(SAGEMAKER, train__resources__spot=None, platform__fallback=elsewhere)
    asked = needs(tmp_path, flights={**spec, **WATCHED})
    (note,) = (note for note in root_of(asked, "tidemill").notes if "--place" in note)
    assert re.match(r"dags/flights\.yaml:\d+: what trainings need at us-east-1 is a root of its own", note)
    assert "`tidemill infra dags/flights.yaml --place 1 --output FOLDER`" in note
    made = root_of(at_place(asked, 1), "tidemill-place-1")
    # The role is the platform's own root's; what jobs may do here is added to it.
    assert calls(made) == [
        "airflow_aws_default", "bucket_acme_ml_us", "grants_role_ml_training", "key", "logs_sagemaker",
        "repository_flights",
    ]  # fmt: skip
    assert [one.what for one in made.used] == ["role of jobs"]
    assert made.variables["region"].default == "us-east-1"
    (bucket,) = made.variables["bucket_acme_ml_us"].asked
    lines = (tmp_path / "project" / "dags" / "flights.yaml").read_text().splitlines()
    assert "s3://acme-ml-us" in lines[bucket.line - 1]
    assert any("acme_ml_us" in one for one in str(made.policies["role_ml_training_files"]).split())


def test_what_a_place_shares_is_not_created_twice(tmp_path: Path) -> None:
    spec = changed(BATCH, platform__fallback=[{"queue": "second", "spot_queue": "second-spot", "after": "1 h"}])
    made = root_of(at_place(needs(tmp_path, flights=spec), 1), "tidemill-place-1")
    assert [label for label in calls(made) if not label.startswith(("queue", "machines"))] == [
        "airflow_aws_default", "grants_role_ml_training",
    ]  # fmt: skip
    assert sorted({one.what for one in made.used}) == ["bucket", "image repository", "log group", "role of jobs"]
    other = changed(KUBERNETES, platform__fallback=[{"connection": "second_cluster", "after": "1 h"}])
    made = root_of(at_place(needs(tmp_path / "k", flights=other), 1), "tidemill-place-1")
    assert {"namespace_ml", "account_ml_training"} <= set(calls(made))


@pytest.mark.parametrize(("places", "told"), [([], "none has any"), ([{"queue": "second", "after": "1 h"}], "is 1")])
def test_a_place_that_no_spec_has_is_told(places: list[Any], told: str, tmp_path: Path) -> None:
    asked = needs(tmp_path, flights=changed(BATCH, platform__fallback=places, train__resources__spot=None))
    for number in (0, 2, -1):
        with pytest.raises(InfraProblem, match=rf"--place {number}: .*{told}"):
            at_place(asked, number)


def test_a_namespace_that_is_there_gets_no_quota(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed(KUBERNETES, platform__existing=["namespace", "service_account"]))
    assert calls(made) == ["airflow_ml", "network_ml"]


def test_gpus_count_towards_the_quota(tmp_path: Path) -> None:
    asked = {"gpu": 2, "count": 2, "accelerator": "amd.com/gpu"}
    made = root(tmp_path, flights=changed(KUBERNETES, train__resources=asked))
    assert made.variables["quota_ml"].default == {"pods": "2", "requests.amd.com/gpu": "4"}
