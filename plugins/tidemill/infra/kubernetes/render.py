"""The needs of pipelines on Kubernetes as a root of Terraform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tidemill.infra.hcl import Attribute, Block, Raw, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Named, Needs, Pipeline
from tidemill.infra.root import Made, Root
from tidemill.platforms.tags import common

AIRFLOW: Final[Sequence[tuple[str, str, tuple[str, ...]]]] = (
    ("batch", "jobs", ("create", "get", "list", "patch")),
    ("", "pods", ("list",)),
)
"""API group, resource and verbs of what ``platforms/kubernetes`` calls: submits, finds, polls and ends jobs, and lists
pods where a job does not tell enough."""
_NAME: Final = Limit("a service account's name", 253)
_GPU: Final = "nvidia.com/gpu"


def render(needs: Needs, prefix: str) -> Root:
    """The root.

    Raises:
        InfraProblem: the specs are of several clusters, or a name grows too long.
    """
    return _Kubernetes(needs, prefix).render()


class _Kubernetes:
    """The root as it grows, a namespace after the other."""

    def __init__(self, needs: Needs, prefix: str) -> None:
        self.needs = needs
        self.prefix = prefix
        self.root = Root(__package__)
        self.told: dict[str, Value] = {}

    def render(self) -> Root:
        """Everything, in order."""
        self.needs.one("platform.connection", lambda p: p.connection, "cluster")
        root = self.root
        root.variable("prefix", "string", "What names begin with that no spec says.", self.prefix)
        config = root.variable(
            "kube_config", "string", "The file that says how to reach the cluster.", "~/.kube/config"
        )
        context = root.variable("kube_context", "string", "Which cluster of that file; its current one if null.", _NULL)
        root.variable(
            "labels",
            "map(string)",
            "Labels of the namespaces.",
            {"app.kubernetes.io/managed-by": "terraform", **common(p.tags for p in self.needs.pipelines)},
        )
        body = (Attribute("config_path", config), Attribute("config_context", context))
        root.main.append(Block("provider", ("kubernetes",), body))
        for namespace in self.needs.named("platform.namespace", lambda p: p.platform.namespace):
            self._namespace(namespace)
        root.output("platform", self.told, "What the specs' platform: sections say, by pipeline.")
        self._tell()
        return root

    def _namespace(self, namespace: Named) -> None:
        root, name = self.root, identifier(namespace.name)
        root.label("namespace", namespace.name, namespace.asked)
        made = Made("namespace", namespace.name, namespace.asked)
        place = root.variable(f"namespace_{name}", "string", "A namespace's name.", namespace.name, namespace.asked)
        if namespace.existing:
            root.used.append(made)
        else:
            called = root.module("namespace", f"namespace_{name}", {"name": place, "labels": Raw("var.labels")}, made)
            place = Raw(f"{called}.name")
        self._airflow(namespace, name, place)
        accounts = self._accounts(namespace, name, place)
        self._volumes(namespace, name, place)
        self._network(namespace, name, place)
        if not namespace.existing:
            self._quota(namespace, name, place)
        for pipeline in namespace.users:
            values: dict[str, Value] = {"namespace": place}
            if account := accounts.get(pipeline.platform.service_account or ""):
                values["service_account"] = account
            self.told[pipeline.name] = values

    def _airflow(self, namespace: Named, name: str, place: Raw) -> None:
        checked(f"{self.prefix}-airflow", _NAME, namespace.asked)
        rules: list[Value] = [
            {"groups": [group], "resources": [resource], "verbs": [*verbs]} for group, resource, verbs in AIRFLOW
        ]
        inputs: dict[str, Value] = {"namespace": place, "name": Raw('"${var.prefix}-airflow"'), "rules": rules}
        made = Made("service account of Airflow", f"{self.prefix}-airflow in {namespace.name}", namespace.asked)
        called = self.root.module("airflow", f"airflow_{name}", inputs, made)
        told = f"What Airflow's connection signs as in {namespace.name}."
        self.root.output(f"airflow_{name}", Raw(f"{called}.name"), told)

    def _accounts(self, namespace: Named, name: str, place: Raw) -> dict[str, Raw]:
        """The service accounts that pods run as; how each is called."""
        found: dict[str, Raw] = {}
        for account in self._among(namespace, "platform.service_account"):
            label = self.root.label("account", f"{namespace.name}/{account.name}", account.asked)
            variable = self.root.variable(label, "string", "A service account's name.", account.name, account.asked)
            made = Made("service account of pods", f"{account.name} in {namespace.name}", account.asked)
            found[account.name] = variable
            if account.existing:
                self.root.used.append(made)
                continue
            told = "What the cluster's workload identity reads, e.g. eks.amazonaws.com/role-arn."
            notes = self.root.variable(f"{label}_annotations", "map(string)", told, {})
            inputs: dict[str, Value] = {"namespace": place, "name": variable, "annotations": notes}
            found[account.name] = Raw(f"{self.root.module('account', label, inputs, made)}.name")
        return found

    def _volumes(self, namespace: Named, name: str, place: Raw) -> None:
        for volume in self._among(namespace, "platform.volume"):
            label = self.root.label("volume", f"{namespace.name}/{volume.name}", volume.asked)
            made = Made("volume", f"{volume.name} in {namespace.name}", volume.asked)
            if volume.existing:
                self.root.used.append(made)
                continue
            told = "A storage class that many nodes can write to at once; the cluster's default if null."
            inputs: dict[str, Value] = {
                "namespace": place,
                "claim": volume.name,
                "size": self.root.variable(f"{label}_size", "string", "A volume's size.", "100Gi"),
                "storage_class": self.root.variable("storage_class", "string", told, _NULL),
            }
            self.root.module("volume", label, inputs, made)

    def _network(self, namespace: Named, name: str, place: Raw) -> None:
        inputs: dict[str, Value] = {
            "namespace": place,
            "reaches_store": any(p.platform.bucket for p in namespace.users),
            "reaches_peers": any(p.spec.train.resources.count > 1 for p in namespace.users),
        }
        made = Made("network policy", f"trainings in {namespace.name}", namespace.asked)
        self.root.module("network", f"network_{name}", inputs, made)

    def _quota(self, namespace: Named, name: str, place: Raw) -> None:
        """A namespace that is there already may have other pods, to which a quota would apply as well."""
        hard = self.root.variable(
            f"quota_{name}", "map(string)", "What pods may take together: at first, each training once.",
            _hard(namespace.users),
        )  # fmt: skip
        made = Made("quota", f"trainings in {namespace.name}", namespace.asked)
        self.root.module("quota", f"quota_{name}", {"namespace": place, "hard": hard}, made)

    def _among(self, namespace: Named, key: str) -> tuple[Named, ...]:
        inside = Needs(self.needs.provider, namespace.users)
        return inside.named(key, _claim if key == "platform.volume" else _account)

    def _tell(self) -> None:
        self.root.notes += [
            "`kube_config` and `kube_context` say which cluster; whoever applies this may make namespaces and roles.",
            "Airflow's connection signs as the service account of Airflow: inside the cluster as the pods' own, from "
            "outside by a kube config with its token (`kubectl create token`).",
        ]
        if any(p.platform.bucket for p in self.needs.pipelines):
            self.root.notes.append(
                "The bucket belongs to a cloud, and is not made here: give the pods' service account access to it by "
                "the cluster's workload identity, and name the identity in the `…_annotations` variables."
            )
        if any(p.platform.volume and "volume" not in p.existing for p in self.needs.pipelines):
            self.root.teardown.append("Volumes are kept: take `prevent_destroy` out of `modules/volume` first.")


_NULL: Final = Raw("null")


def _claim(pipeline: Pipeline) -> str | None:
    volume = pipeline.platform.volume
    return None if volume is None else volume.claim


def _account(pipeline: Pipeline) -> str | None:
    return pipeline.platform.service_account


def _hard(pipelines: Sequence[Pipeline]) -> dict[str, Value]:
    """How much each training takes, added up. A quota of processors or memory refuses pods that do not say theirs."""
    asked = [pipeline.spec.train.resources for pipeline in pipelines]
    found: dict[str, Value] = {"pods": str(sum(one.count for one in asked))}
    if all(one.cpu is not None for one in asked):
        found["requests.cpu"] = str(sum((one.cpu or 0) * one.count for one in asked))
    if all(one.memory is not None for one in asked):
        found["requests.memory"] = str(sum(int(one.memory or 0) * one.count for one in asked))
    for one in asked:
        if one.gpu is not None:
            key = f"requests.{one.accelerator or _GPU}"
            found[key] = str(int(str(found.get(key, 0))) + one.gpu * one.count)
    return dict(sorted(found.items()))
