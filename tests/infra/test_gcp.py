"""Google Cloud: what stands in a root, who may do what, and what fits none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.allowed_gcp import allows, grants
from tests.infra.roots import SAGEMAKER, VERTEX, WATCHED, changed, needs, root, written
from tests.infra.test_needs import calls
from tidemill.infra.gcp.grants import plain
from tidemill.infra.gcp.using import Account, account_of, bucket_of, image_of
from tidemill.infra.generate import files_of, root_of
from tidemill.infra.hcl import Attribute, Block
from tidemill.infra.needs import InfraProblem
from tidemill.infra.root import Root
from tidemill.platforms import gcp
from tidemill.spec.errors import SpecErrors

FULL: Final = changed({**VERTEX, **WATCHED}, data__version="object-store", data__keep="1 year", train__track="vertex")
KEY: Final = "projects/acme-keys/locations/europe-west4/keyRings/ml/cryptoKeys/ml"


def inputs(made: Root, label: str) -> dict[str, Any]:
    """What a module is called with."""
    (block,) = (b for b in made.main if isinstance(b, Block) and b.labels == (label,))
    return {item.name: item.value for item in block.body if isinstance(item, Attribute)}


def test_a_training_on_vertex_needs_no_more(tmp_path: Path) -> None:
    made = root(tmp_path, flights=VERTEX)
    assert calls(made) == [
        "account_access_training", "account_training", "airflow_google_cloud_default", "bucket_acme_ml", "key", "logs",
        "repository_europe_west4_training", "services",
    ]  # fmt: skip
    assert inputs(made, "services")["services"] == [
        f"{name}.googleapis.com"
        for name in ("aiplatform", "artifactregistry", "cloudkms", "cloudresourcemanager", "iam", "logging", "storage")
    ]


def test_what_is_there_is_used_and_not_created(tmp_path: Path) -> None:
    words = ["bucket", "service_account", "image", "logs"]
    made = root(tmp_path, flights=changed(VERTEX, platform__existing=words))
    assert calls(made) == ["account_access_training", "airflow_google_cloud_default", "services"]
    assert [one.what for one in made.used] == ["bucket", "log bucket", "image repository", "service account of jobs"]
    assert inputs(made, "services")["services"] == [
        f"{name}.googleapis.com" for name in ("aiplatform", "cloudresourcemanager", "iam")
    ]
    # The roles are granted on it all the same.
    asked = {"action": "storage.objects.get", "resource": f"{OBJECTS}flights/tidemill/x", "context": {}}
    assert allows(made, grants(made, of="airflow_"), asked)
    asked = {"action": "iam.serviceAccounts.actAs", "resource": f"projects/acme-ml/serviceAccounts/{ME}", "context": {}}
    assert allows(made, grants(made, of="airflow_"), asked)


def test_a_monitor_has_alerts_that_say_what_it_says(tmp_path: Path) -> None:
    made = root(tmp_path, flights={**VERTEX, **WATCHED})
    told = inputs(made, "alerts_flights")
    base = "custom.googleapis.com/tidemill"
    rules = {name: (a["metric"], a["comparison"], a["threshold"]) for name, a in told["alerts"].items()}
    assert rules == {
        "drift": (f"{base}/drifted", "COMPARISON_GT", 0.5),
        "roc_auc-low": (f"{base}/metric_high.roc_auc", "COMPARISON_LT", 0.68),
        "log_loss-high": (f"{base}/metric_low.log_loss", "COMPARISON_GT", 0.6),
    }
    assert told["labels"] == {"dag_id": "flights.monitor", "model": "flights"}
    # Cloud Monitoring refuses an alert on a metric that it does not know.
    assert inputs(made, "metrics")["types"] == sorted(metric for metric, _, _ in rules.values())
    assert told["project"] == "module.metrics.project"


def test_alerts_are_on_the_series_that_the_monitor_writes(tmp_path: Path) -> None:
    """Type, resource and labels as ``platforms/gcp/metrics.py`` sends them, and as the filter has them."""
    from datetime import UTC, datetime

    from tidemill.platforms.gcp.account import Account as Signed
    from tidemill.platforms.gcp.metrics import CloudMonitoring

    metrics = CloudMonitoring(Signed("c", "acme-ml", "europe-west4", None))
    dimensions = {"model": "flights", "version": "1", "dag_id": "flights.monitor"}
    series = metrics._series("metric_high.roc_auc", 0.7, dimensions, datetime.now(UTC))
    made = root(tmp_path, flights={**VERTEX, **WATCHED})
    told = inputs(made, "alerts_flights")
    assert series.metric.type == told["alerts"]["roc_auc-low"]["metric"]
    assert told["labels"].items() <= dict(series.metric.labels).items()
    assert set(series.metric.labels) == set(inputs(made, "metrics")["labels"])
    text = files_of(needs(tmp_path / "2", flights={**VERTEX, **WATCHED}), "tidemill")["modules/alerts/main.tf"]
    assert f'resource.type = \\"{series.resource.type}\\"' in text


def test_data_versions_are_not_ended_by_age(tmp_path: Path) -> None:
    plain_days = inputs(root(tmp_path / "a", flights=VERTEX), "bucket_acme_ml")["days"]
    assert plain_days == {"checkpoints/": "var.checkpoint_days", "flights/tidemill/": "var.work_days"}
    kept = changed(VERTEX, data__version="object-store")
    found = inputs(root(tmp_path / "b", flights=VERTEX, ships=kept), "bucket_acme_ml")
    assert found["days"] == {"checkpoints/": "var.checkpoint_days"}
    ended = inputs(root(tmp_path / "c", flights=changed(kept, data__keep="1 year")), "bucket_acme_ml")
    assert ended["source"] == "./modules/kept_bucket"
    assert "days" not in ended


def test_a_key_that_is_named_encrypts_everything(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed(VERTEX, platform__encryption_key=KEY))
    assert "key" not in calls(made)
    assert inputs(made, "bucket_acme_ml")["kms_key_name"] == "var.key_ml"
    assert inputs(made, "repository_europe_west4_training")["kms_key_name"] == "var.key_ml"
    assert any(KEY in note for note in made.notes)


def test_what_is_somebody_elses_is_not_created(tmp_path: Path) -> None:
    theirs = changed(
        VERTEX,
        train__image="europe-docker.pkg.dev/base/ml/sklearn@sha256:" + "0" * 64,
        platform__service_account="training@acme-people.iam.gserviceaccount.com",
    )
    made = root(tmp_path, flights=theirs)
    assert not [label for label in calls(made) if label.startswith(("repository", "account_training"))]
    assert any("let Vertex AI's service agent" in note for note in made.notes)
    (act,) = (one for one in made.policies["airflow_google_cloud_default_train"] if one.what == "act")
    assert act.on[0].name == "projects/acme-people/serviceAccounts/${var.account_training}"
    default = "123456789012-compute@developer.gserviceaccount.com"
    made = root(tmp_path / "2", flights=changed(VERTEX, platform__service_account=default))
    assert [one.name for one in made.used] == [default]
    nobody = root(tmp_path / "3", flights=changed(VERTEX, platform__service_account=None))
    assert any("names no service_account" in note for note in nobody.notes)
    assert not [label for label in calls(nobody) if label.startswith("account")]


ME: Final = "training@acme-ml.iam.gserviceaccount.com"
OBJECTS: Final = "projects/_/buckets/acme-ml/objects/"
PREFIX: Final = "storage.googleapis.com/objectListPrefix"


@pytest.mark.parametrize(
    ("who", "permission", "resource", "prefix", "allowed"),
    [
        ("airflow_", "aiplatform.customJobs.create", "projects/acme-ml", None, True),
        ("airflow_", "aiplatform.customJobs.create", "projects/acme-ml-2", None, False),
        ("airflow_", "aiplatform.customJobs.delete", "projects/acme-ml", None, False),
        ("airflow_", "storage.objects.create", f"{OBJECTS}flights/tidemill/1a2b3c4d/code/x", None, True),
        ("airflow_", "storage.objects.create", f"{OBJECTS}others/data", None, False),
        ("airflow_", "storage.objects.get", "projects/_/buckets/acme-ml-2/objects/flights/tidemill/x", None, False),
        ("airflow_", "storage.objects.list", "projects/_/buckets/acme-ml", "flights/tidemill/x/", True),
        ("airflow_", "storage.objects.list", "projects/_/buckets/acme-ml", "", False),
        ("airflow_", "storage.buckets.update", "projects/_/buckets/acme-ml", None, False),
        ("airflow_", "iam.serviceAccounts.actAs", f"projects/acme-ml/serviceAccounts/admin@{ME[9:]}", None, False),
        ("account_access_", "storage.objects.get", f"{OBJECTS}flights/tidemill/1a/data/x", None, True),
        ("account_access_", "storage.objects.create", f"{OBJECTS}flights/tidemill/1a/data/x", None, False),
        ("account_access_", "storage.objects.create", f"{OBJECTS}flights/tidemill/1a/jobs/tm-1/output/m", None, True),
        ("account_access_", "storage.objects.create", f"{OBJECTS}flights/tidemill/1a/jobs/tm-1/job.json", None, False),
        ("account_access_", "storage.objects.delete", f"{OBJECTS}checkpoints/tm-1/state", None, True),
        ("account_access_", "storage.objects.list", "projects/_/buckets/acme-ml", "checkpoints/tm-1/", True),
        ("account_access_", "aiplatform.customJobs.create", "projects/acme-ml", None, False),
    ],
)
def test_who_may_do_what(
    who: str, permission: str, resource: str, prefix: str | None, allowed: bool, tmp_path: Path
) -> None:
    made = root(tmp_path, flights=VERTEX)
    context = {} if prefix is None else {PREFIX: prefix}
    asked = {"action": permission, "resource": resource, "context": context}
    assert allows(made, grants(made, of=who), asked) is allowed


@pytest.fixture
def full(tmp_path: Path) -> Root:
    return root(tmp_path, flights=FULL)


def test_nothing_is_for_all_without_a_reason(full: Root) -> None:
    found = grants(full, of="")
    for one in found:
        # As Google names them; custom roles take no wildcards.
        assert all(re.fullmatch(r"[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+", name) for name in one.permissions), one
        for on in one.on:
            narrow = on.condition or on.kind == "account" or one.permissions == ("storage.buckets.get",)
            assert narrow or one.reason


def test_no_role_of_googles_own_is_granted_but_one(tmp_path: Path) -> None:
    """Primitive and predefined roles come with what nobody calls; that of the key has two permissions."""
    texts = [path.read_text() for path in written(tmp_path, flights=FULL).rglob("*.tf")]
    assert {name for text in texts for name in re.findall(r'"(roles/[\w.]+)"', text)} == {
        "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    }


def test_every_call_in_the_code_is_in_a_role(full: Root) -> None:
    text = "".join(file.read_text() for file in Path(gcp.__path__[0]).glob("*.py"))
    named = set(re.findall(r'"((?:aiplatform|storage|monitoring)\.\w+\.\w+)"', text))
    assert len(named) >= 9
    assert named <= {name for one in grants(full, of="airflow_") for name in one.permissions}


def test_pipelines_share_what_they_share(tmp_path: Path) -> None:
    many = {f"flights_{n}": VERTEX for n in range(3)}
    one, three = needs(tmp_path / "a", flights_0=VERTEX), needs(tmp_path / "b", **many)
    assert calls(root_of(one, "tidemill")) == calls(root_of(three, "tidemill"))
    roles = [root_of(n, "tidemill").policies for n in (one, three)]
    assert roles[0] == roles[1]


def test_the_same_specs_give_the_same_files(tmp_path: Path) -> None:
    specs = {"flights": FULL, "ships": changed(VERTEX, platform__connection="Other")}
    assert files_of(needs(tmp_path, **specs), "tidemill") == files_of(needs(tmp_path, **specs), "tidemill")


def test_a_path_with_marks_stays_a_text(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed(VERTEX, platform__bucket="gs://acme-ml/o'brien/${x}"))
    asked = {"action": "storage.objects.get", "resource": f"{OBJECTS}o'brien/${{x}}/tidemill/a", "context": {}}
    assert allows(made, grants(made, of="airflow_"), asked)
    assert plain("$${x} ${var.a} %%{b}", {"var.a": "1"}) == "${x} 1 %{b}"


def test_names_of_google_cloud_are_taken_apart() -> None:
    assert account_of(ME) == Account("training", "acme-ml")
    assert account_of("a@ml.example.com.iam.gserviceaccount.com") == Account("a", "example.com:ml")
    assert account_of("123-compute@developer.gserviceaccount.com") is None
    assert image_of("gcr.io/acme-ml/flights:1") is None
    assert image_of("europe-docker.pkg.dev/a/b/c/d:1@sha256:0") is not None
    assert bucket_of("gs://acme-ml//x/") == ("acme-ml", "x")


PROBLEMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "two providers": ({"a": SAGEMAKER, "b": VERTEX}, r"of several providers: aws \(.*a\.yaml:3.*gcp \(.*b\.yaml:3"),
    "two regions": (
        {"a": VERTEX, "b": changed(VERTEX, platform__region="us-central1")},
        r"several regions: europe-west4 .*us-central1",
    ),
    "two projects": (
        {"a": VERTEX, "b": changed(VERTEX, platform__project="other")},
        r"several projects: acme-ml .*other",
    ),
    "a key elsewhere": (
        {"a": changed(VERTEX, platform__encryption_key=KEY.replace("europe-west4", "global"))},
        r"a\.yaml:\d+ platform\.encryption_key: .* is in global, .*name a key in europe-west4",
    ),
    "a key of no form": (
        {"a": changed(VERTEX, platform__encryption_key="my-key")},
        r"my-key is no projects/…/locations/…",
    ),
    "an account's long name": (
        {"a": changed(VERTEX, platform__service_account=f"{'t' * 31}@acme-ml.iam.gserviceaccount.com")},
        r"a\.yaml:\d+ platform\.service_account: t+ has 31 characters, .* has 6 to 30",
    ),
    "a connection's long name": (
        {"a": changed(VERTEX, platform__connection="c" * 60)},
        r"a custom role's id has 64 at most: shorten it, or the --prefix",
    ),
    "there, and not there": (
        {"a": VERTEX, "b": changed(VERTEX, platform__existing=["bucket"])},
        r"b\.yaml:\d+ platform\.existing says that acme-ml is there, .*a\.yaml:\d+ platform\.bucket does not",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_fits_no_root_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    specs, told = PROBLEMS[name]
    with pytest.raises(InfraProblem, match=told):
        root(tmp_path, **specs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"platform__region": "europe-west99"}, 'vertex is in no region "europe-west99"'),
        ({"platform__existing": ["role"]}, "nothing of that kind is created for gcp"),
        ({"platform__existing": ["service_account"], "platform__service_account": None}, "names no service_account"),
    ],
)
def test_what_google_cloud_does_not_have_is_a_mistake_of_the_spec(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecErrors, match=told):
        needs(tmp_path, flights=changed(VERTEX, **change))


def test_other_places_have_a_call_of_their_own(tmp_path: Path) -> None:
    image = "us-central1-docker.pkg.dev/acme-ml/training/flights:1"
    elsewhere = [{"region": "us-central1", "bucket": "gs://acme-ml-us", "image": image}]
    spec = changed(VERTEX, train__resources__spot=None, platform__fallback=elsewhere)
    assert "--place 1 --output" in files_of(needs(tmp_path, flights=spec), "tidemill")["README.md"]


@pytest.mark.parametrize("bucket", ["acme-ml", "acme-rows"])
def test_a_source_in_a_bucket_may_be_read_and_no_other(bucket: str, tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed(VERTEX, data__source=f"gs://{bucket}/rows/flights.parquet"))
    told = grants(made, of="airflow_google_cloud_default_sources")

    def allowed(permission: str, resource: str) -> bool:
        return allows(made, told, {"action": permission, "resource": resource, "context": {}})

    base = f"projects/_/buckets/{bucket}"
    assert allowed("storage.objects.get", f"{base}/objects/rows/flights.parquet")
    assert allowed("storage.buckets.get", base)
    assert not allowed("storage.objects.get", f"{base}/objects/rows/flights.parquet.bak")
    assert not allowed("storage.objects.create", f"{base}/objects/rows/flights.parquet")
    # A bucket that rows alone are read from is somebody else's.
    assert [label for label in calls(made) if label.startswith("bucket")] == ["bucket_acme_ml"]


def test_labels_are_what_google_takes(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed({**VERTEX, "owner": "Ops Research"}, platform__tags={"team": "ml"}))
    assert made.variables["labels"].default == {
        "tidemill-owner": "ops-research", "team": "ml", "tidemill-pipeline": "flights",
    }  # fmt: skip
