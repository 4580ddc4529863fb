"""Azure: what specs need and no more, who may do what, and what cannot be written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.azure_allowed import allows, roles
from tests.infra.roots import AZURE, IDENTITY, SUBSCRIPTION, WATCHED, changed, needs, root
from tidemill.infra.azure.rights import Role
from tidemill.infra.generate import files_of, root_of
from tidemill.infra.hcl import Attribute, Block
from tidemill.infra.needs import InfraProblem
from tidemill.infra.root import Root
from tidemill.spec.errors import SpecErrors

VERSIONED: Final = changed(AZURE, data__version="object-store", data__keep="1 year")
EVERYTHING: Final = ["resource_group", "workspace", "compute", "spot_compute", "bucket", "image", "logs"]
OTHER: Final = "22222222-2222-2222-2222-222222222222"


def calls(made: Root) -> list[str]:
    """The modules that a root calls, by label."""
    return sorted(block.labels[0] for block in made.main if isinstance(block, Block) and block.kind == "module")


def inputs(made: Root, label: str) -> dict[str, Any]:
    """What a module is given."""
    (block,) = (block for block in made.main if isinstance(block, Block) and block.labels == (label,))
    return {item.name: item.value for item in block.body if isinstance(item, Attribute)}


def test_a_training_needs_no_more(tmp_path: Path) -> None:
    assert calls(root(tmp_path, flights=AZURE)) == [
        "airflow_azure_default_train", "airflow_azure_default_wait", "cluster_acme_ml_cpu_cluster",
        "cluster_acme_ml_spot_cluster", "group", "jobs_acme_ml_cpu_cluster", "jobs_acme_ml_spot_cluster", "monitoring",
        "registry_acmeimages", "storage_acmeml", "storage_of_acme_ml", "workspace_acme_ml",
    ]  # fmt: skip


def test_what_is_there_is_used_and_not_created(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed({**AZURE, **WATCHED}, platform__existing=EVERYTHING))
    # What is left: rights, and alerts.
    assert {label.partition("_")[0] for label in calls(made)} == {"airflow", "jobs", "alerts"}
    assert {one.what for one in made.used} == {
        "resource group", "Application Insights and its logs", "storage account", "image registry", "workspace",
        "cluster", "cluster of low-priority machines",
    }  # fmt: skip
    ids = [name for name, one in made.variables.items() if name.endswith("_id")]
    assert ids == ["application_insights_id", "storage_acmeml_id", "registry_acmeimages_id"]
    assert made.variables["application_insights_id"].default is None
    at = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ml/providers/Microsoft.Storage/storageAccounts/acmeml"
    assert made.variables["storage_acmeml_id"].default == at
    # Nobody knows what an existing cluster runs as: that has to be said.
    assert made.variables["cluster_acme_ml_cpu_cluster_principals"].default == []


def test_versions_and_a_hierarchical_namespace_exclude_each_other(tmp_path: Path) -> None:
    flat = changed(
        AZURE,
        platform__bucket="abfss://models@acmeml.blob.core.windows.net/flights",
        train__resources__spot=None,
    )
    for name, spec, versions, hierarchical in (
        ("lake", AZURE, False, True),
        ("blob", flat, False, False),
        ("versions", VERSIONED, True, False),
    ):
        told = inputs(root(tmp_path / name, flights=spec), "storage_acmeml")
        assert (told["versions"], told["hierarchical"]) == (versions, hierarchical), name
        # Azure ML takes no hierarchical one of its own.
        assert inputs(root(tmp_path / name, flights=spec), "storage_of_acme_ml")["hierarchical"] is False
    # One that wants versions decides for all that share the account.
    both = root(tmp_path / "both", flights=AZURE, ships=VERSIONED)
    assert inputs(both, "storage_acmeml")["hierarchical"] is False
    assert any("acmeml keeps versions" in note for note in both.notes)
    assert not any("keeps versions" in note for note in root(tmp_path / "lake", flights=AZURE).notes)


def test_data_versions_are_not_ended_by_age(tmp_path: Path) -> None:
    plain = inputs(root(tmp_path / "a", flights=AZURE), "storage_acmeml")
    assert plain["days"] == {
        "models/checkpoints/": "var.checkpoint_days",
        "models/flights/tidemill/": "var.work_days",
    }
    assert plain["owns_lifecycle"] is True
    kept = changed(AZURE, data__version="object-store")
    assert inputs(root(tmp_path / "b", flights=AZURE, ships=kept), "storage_acmeml")["days"] == {
        "models/checkpoints/": "var.checkpoint_days"
    }
    # The account has one policy: where pipelines write rules of their own, Terraform writes none.
    assert inputs(root(tmp_path / "c", flights=VERSIONED), "storage_acmeml")["owns_lifecycle"] is False


def test_a_monitor_has_alerts_that_say_what_it_says(tmp_path: Path) -> None:
    told = inputs(root(tmp_path, flights={**AZURE, **WATCHED}), "alerts_flights")
    assert told["dimensions"] == {"dag_id": "flights.monitor", "model": "flights"}
    assert {name: (one["metric"], one["holds"]) for name, one in told["alerts"].items()} == {
        "drift": ("tidemill.drifted", ">= 1"),
        "roc_auc-low": ("tidemill.metric_high.roc_auc", "< 0.68"),
        "log_loss-high": ("tidemill.metric_low.log_loss", "> 0.6"),
    }


def test_alerts_look_for_numbers_as_they_are_written(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from tidemill.platforms.azure.metrics import metrics_data

    told = inputs(root(tmp_path, flights={**AZURE, **WATCHED}), "alerts_flights")
    values = {one["metric"].removeprefix("tidemill."): 1.0 for one in told["alerts"].values()}
    found = metrics_data(values, told["dimensions"], datetime.now(UTC)).resource_metrics[0].scope_metrics[0].metrics
    assert {metric.name for metric in found} == {one["metric"] for one in told["alerts"].values()}
    assert found[0].data.data_points[0].attributes == told["dimensions"]


def test_the_identity_that_is_created_does_not_hang_on_its_client_id(tmp_path: Path) -> None:
    """Azure gives it, and the specs are told of it later: the same root has to come of both."""
    texts = [
        files_of(needs(tmp_path / one, flights=changed(AZURE, platform__identity=one)), "tidemill")
        for one in (IDENTITY, OTHER)
    ]
    assert texts[0] == texts[1]
    assert "client_id" in texts[0]["outputs.tf"]
    assert IDENTITY not in "".join(texts[0].values())


def test_an_identity_that_is_there_is_looked_up(tmp_path: Path) -> None:
    made = root(tmp_path, flights=changed(AZURE, platform__identity=IDENTITY, platform__existing=["identity"]))
    assert "identity" not in calls(made)
    assert made.variables["identity_11111111_name"].default is None
    assert made.variables["identity_11111111_group"].default == "ml"
    told = inputs(made, "cluster_acme_ml_cpu_cluster")
    assert told["identities"] == ["data.azurerm_user_assigned_identity.identity_11111111.id"]


def test_a_cluster_holds_every_training_once(tmp_path: Path) -> None:
    many = changed(AZURE, train__resources={"count": 3})
    made = root(tmp_path, flights=AZURE, ships=many)
    assert made.variables["cluster_acme_ml_cpu_cluster_nodes"].default == 4
    assert inputs(made, "cluster_acme_ml_spot_cluster")["priority"] == "LowPriority"


def test_an_image_elsewhere_makes_no_registry(tmp_path: Path) -> None:
    for image in ("registry.example.org/acme/flights:1.4", "azureml:flights:1"):
        made = root(tmp_path / image.partition(":")[0].replace("/", "_"), flights=changed(AZURE, train__image=image))
        assert not [label for label in calls(made) if label.startswith("registry")]
        assert "registries/pull/read" not in str(made.policies)


PROBLEMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "two subscriptions": (
        {"a": AZURE, "b": changed(AZURE, platform__subscription=OTHER)},
        "several subscriptions: 00000000-.*22222222-",
    ),
    "two resource groups": (
        {"a": AZURE, "b": changed(AZURE, platform__resource_group="other")},
        "several resource groups: ml .*other",
    ),
    "a workspace that is there in a group that is not": (
        {"a": changed(AZURE, platform__existing=["workspace"])},
        r"a\.yaml:\d+ platform\.existing says that the workspace is there, and not the resource_group .*: add",
    ),
    "there, and not there": (
        {"a": AZURE, "b": changed(AZURE, platform__existing=["bucket"])},
        r"b\.yaml:\d+ platform\.existing says that acmeml is there, .*a\.yaml:\d+ platform\.bucket does not",
    ),
    "one cluster of both tiers": (
        {"a": changed(AZURE, platform__spot_compute="cpu-cluster")},
        "cpu-cluster is named for both tiers",
    ),
    "several identities": (
        {"a": changed(AZURE, platform__identity=IDENTITY), "b": changed(AZURE, platform__identity=OTHER)},
        r"Azure gives an identity its client id.*add identity to platform\.existing",
    ),
    "a cluster of both kinds of identity": (
        {"a": AZURE, "b": changed(AZURE, platform__identity=IDENTITY)},
        r"b\.yaml:\d+ platform\.identity: the jobs of a run as cpu-cluster's own identity",
    ),
    "Azure Government": (
        {"a": changed(AZURE, platform__bucket="abfss://models@acmeml.dfs.core.usgovcloudapi.net")},
        r"a\.yaml:\d+ platform\.bucket: nothing is written for Azure Government and China",
    ),
    "a workspace's long name": (
        {"a": changed(AZURE, platform__workspace="w" * 40)},
        r"a\.yaml:\d+ platform\.workspace: w+ has 40 characters, and a workspace's name has 33 at most",
    ),
    "a cluster's long name": (
        {"a": changed(AZURE, platform__compute="c" * 33)},
        r"a\.yaml:\d+ platform\.compute: c+ has 33 characters, and a cluster's name has 32 at most",
    ),
    "one name for two": (
        {"a": AZURE, "b": changed(AZURE, platform__workspace="acme_ml")},
        "acme_ml and acme-ml would both be workspace_acme_ml",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_fits_no_root_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    specs, told = PROBLEMS[name]
    with pytest.raises(InfraProblem, match=told):
        root(tmp_path, **specs)


def test_names_that_the_prefix_makes_too_long_are_shortened(tmp_path: Path) -> None:
    """Storage accounts and key vaults have 24 characters; the longest prefix alone has 32."""
    found = needs(tmp_path, flights=AZURE, ships=changed(AZURE, platform__workspace="acme-ml-2"))
    seen: set[str] = set()
    for prefix in ("tidemill", "tidemill-production", "tidemill-production-2", "t" * 32):
        told = root_of(found, prefix).variables
        for workspace in ("acme_ml", "acme_ml_2"):
            store = str(told[f"workspace_{workspace}_storage"].default)
            vault = str(told[f"workspace_{workspace}_vault"].default)
            assert re.fullmatch(r"[a-z0-9]{3,24}", store), store
            # "Begins with a letter, ends with a letter or digit, no two hyphens in a row".
            assert re.fullmatch(r"[a-z](?:-?[a-z0-9]){2,23}", vault), vault
            assert len(vault) <= 24
            seen |= {store, vault}
    assert len(seen) == 16
    assert "tidemillacmeml" in seen


@pytest.mark.parametrize(
    ("existing", "told"),
    [
        (["role"], "nothing of that kind is created for azure"),
        (["identity"], "platform names no identity"),
        (["storage"], "existing"),
    ],
)
def test_a_word_for_what_is_there_is_checked(existing: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match=told):
        needs(tmp_path, flights=changed(AZURE, platform__existing=existing))


def every_role(folder: Path) -> list[Role]:
    full = {**changed(VERSIONED, train__track="azureml"), **WATCHED}
    made = root(folder, flights=full, ships=changed(full, platform__connection="other"))
    return [*roles(made, of="airflow_"), *roles(made, of="jobs_")]


def test_no_role_has_a_wildcard_and_every_action_is_a_real_one(tmp_path: Path) -> None:
    """The actions as Azure's own list of permissions has them; a change of the roles has to look there."""
    known = {
        "Microsoft.ContainerRegistry/registries/pull/read",
        *(f"Microsoft.Storage/storageAccounts/{one}" for one in (
            "read", "managementPolicies/delete", "managementPolicies/read", "managementPolicies/write",
        )),
        *(f"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/{one}" for one in (
            "add/action", "delete", "move/action", "read", "write",
        )),
        *(f"Microsoft.MachineLearningServices/workspaces/{one}" for one in (
            "read", "jobs/read", "jobs/write", "jobs/cancel/action", "environments/versions/write", "computes/read",
            "environments/read", "environments/write", "environments/build/action", "environments/readSecrets/action",
            "metadata/artifacts/write", "experiments/read", "experiments/write", "experiments/runs/read",
            "experiments/runs/write",
        )),
    }  # fmt: skip
    rights = [right for role in every_role(tmp_path) for right in role.rights]
    assert {action for right in rights for action in (*right.actions, *right.data)} <= known
    assert not [one for right in rights for one in (*right.actions, *right.data) if "*" in one]
    assert all("/blobs/" in one for right in rights for one in right.data)


def test_a_role_holds_at_what_the_specs_name_alone(tmp_path: Path) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ml"
    for role in every_role(tmp_path):
        for _, at in role.scopes:
            assert re.fullmatch(rf"{group}/providers/[\w./-]+", at), (role.name, at)
        # Rights on what lies in a store hold at its container, not at the account.
        if any(right.data for right in role.rights):
            assert not [at for _, at in role.scopes if re.search(r"storageAccounts/\w+$", at)], role.name


HERE: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ml/providers"
STORE: Final = f"{HERE}/Microsoft.Storage/storageAccounts/acmeml"
BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
ML: Final = "Microsoft.MachineLearningServices/workspaces"


@pytest.mark.parametrize(
    ("who", "action", "resource", "allowed"),
    [
        ("airflow_", f"{ML}/jobs/write", f"{HERE}/{ML}/acme-ml", True),
        ("airflow_", f"{ML}/jobs/write", f"{HERE}/{ML}/acme-ml-2", False),
        ("airflow_", f"{ML}/jobs/delete", f"{HERE}/{ML}/acme-ml", False),
        ("airflow_", f"{ML}/computes/write", f"{HERE}/{ML}/acme-ml", False),
        ("airflow_", f"{BLOBS}/write", f"{STORE}/blobServices/default/containers/models", True),
        ("airflow_", f"{BLOBS}/write", f"{STORE}/blobServices/default/containers/others", False),
        ("airflow_", f"{BLOBS}/delete", f"{STORE}/blobServices/default/containers/models", False),
        ("airflow_", "Microsoft.Storage/storageAccounts/managementPolicies/write", STORE, False),
        ("airflow_", "Microsoft.Storage/storageAccounts/listKeys/action", STORE, False),
        ("jobs_", f"{BLOBS}/write", f"{STORE}/blobServices/default/containers/models", True),
        ("jobs_", f"{BLOBS}/write", f"{HERE}/Microsoft.Storage/storageAccounts/tidemillacmeml", False),
        ("jobs_", f"{ML}/jobs/write", f"{HERE}/{ML}/acme-ml", False),
    ],
)
def test_who_may_do_what(who: str, action: str, resource: str, allowed: bool, tmp_path: Path) -> None:
    made = roles(root(tmp_path, flights=AZURE), of=who)
    asked = {"action": action, "resource": resource, "data": "/blobs/" in action}
    assert allows(made, asked) is allowed


def test_a_role_says_why_beside_what_no_call_shows(tmp_path: Path) -> None:
    text = files_of(needs(tmp_path, flights=AZURE), "tidemill")["access.tf"]
    (train,) = re.findall(r'"airflow_azure_default_train" \{.*?\n\}', text, re.DOTALL)
    assert train.count("permissions {") == 1
    assert "# Clusters, environments and their build, artifacts: what Azure ML asks" in train
    assert "# add, delete, move: a mount is Azure ML's own" in text


def test_written_twice_it_is_the_same(tmp_path: Path) -> None:
    specs = {"flights": {**VERSIONED, **WATCHED}, "ships": AZURE}
    assert files_of(needs(tmp_path / "a", **specs), "t1") == files_of(needs(tmp_path / "b", **specs), "t1")


def test_a_new_spec_leaves_the_names_of_the_others(tmp_path: Path) -> None:
    """Renaming a module would have Terraform destroy what it made."""
    another = changed(
        AZURE,
        platform__workspace="aaa",
        platform__bucket="abfss://aaa@aaaml.dfs.core.windows.net",
        train__image="aaaimages.azurecr.io/a:1",
        train__resources__spot=None,
    )
    before = set(calls(root(tmp_path / "a", flights=AZURE)))
    assert before <= set(calls(root(tmp_path / "b", aaa=another, flights=AZURE)))
