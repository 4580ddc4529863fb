"""The needs of pipelines on Google Cloud as a root of Terraform."""

from __future__ import annotations

from tidemill.infra.gcp import access, stored
from tidemill.infra.gcp.alerts import alerts
from tidemill.infra.gcp.base import Gcp
from tidemill.infra.gcp.using import bucket_of, image_of
from tidemill.infra.hcl import Attribute, Block, Raw, Template, Value, identifier
from tidemill.infra.needs import InfraProblem, Needs
from tidemill.infra.root import Made, Root
from tidemill.platforms.tags import common


def render(needs: Needs, prefix: str) -> Root:
    """The root.

    Raises:
        InfraProblem: the specs are of several projects or regions, a key is elsewhere, or a name grows too long.
    """
    gcp = Gcp(needs, prefix, Root(__package__))
    _place(gcp)
    stored.keys(gcp)
    stored.buckets(gcp)
    stored.logs(gcp)
    stored.repositories(gcp)
    access.grant(gcp)
    alerts(gcp)
    _services(gcp)
    _outputs(gcp)
    _tell(gcp)
    return gcp.root


def _place(gcp: Gcp) -> None:
    """The provider, its project and region."""
    needs, root = gcp.needs, gcp.root
    region = needs.one("platform.region", lambda p: p.platform.region, "region")
    project = needs.one("platform.project", lambda p: p.platform.project, "project")
    if region is None or project is None:
        raise InfraProblem(f"{needs.pipelines[0].asked('platform')}: name its project and its region")
    root.variable("prefix", "string", "What names begin with that no spec says.", gcp.prefix)
    asked = [p.asked("platform.project") for p in needs.pipelines]
    root.variable("project", "string", "The project.", project, asked)
    root.variable("region", "string", "The region.", region, [p.asked("platform.region") for p in needs.pipelines])
    root.variable(
        "labels", "map(string)", "Labels of everything that has any.", {**common(p.tags for p in needs.pipelines)}
    )
    body = tuple(Attribute(name, Raw(f"var.{name}")) for name in ("project", "region"))
    root.main.append(Block("provider", ("google",), (*body, Attribute("default_labels", Raw("var.labels")))))


def _services(gcp: Gcp) -> None:
    """The APIs, before everything that needs them."""
    if any("train" in pipeline.tasks for pipeline in gcp.needs.pipelines):
        gcp.services.add("aiplatform")
    names: list[Value] = [f"{name}.googleapis.com" for name in sorted({"cloudresourcemanager", "iam", *gcp.services})]
    asked = tuple(pipeline.asked("platform.project") for pipeline in gcp.needs.pipelines)
    told = Made("services of the project", ", ".join(map(str, names)), asked)
    at = len(gcp.root.main)
    gcp.root.module("services", "services", {"project": Raw("var.project"), "services": names}, told)
    # It is known last, and read first: below the provider.
    gcp.root.main.insert(1, gcp.root.main.pop(at))
    gcp.root.made.insert(0, gcp.root.made.pop())


def _outputs(gcp: Gcp) -> None:
    """What each pipeline's ``platform:`` says, as it stands once this root is applied."""
    told: dict[str, Value] = {}
    for pipeline in gcp.needs.pipelines:
        platform = pipeline.platform
        bucket, path = bucket_of(platform.bucket or "")
        found: dict[str, Value] = {
            "project": Raw("var.project"),
            "region": Raw("var.region"),
            "bucket": Template(f"gs://${{var.{identifier(f'bucket_{bucket}')}}}{f'/{path}' if path else ''}"),
        }
        if platform.service_account:
            found["service_account"] = Raw(gcp.accounts[platform.service_account])
        told[pipeline.name] = found
    gcp.root.output("platform", told, "What the specs' platform: sections say, by pipeline.")


def _tell(gcp: Gcp) -> None:
    """What a person has to know before applying this."""
    root, modules, pipelines = gcp.root, gcp.root.modules, gcp.needs.pipelines
    root.notes.append(
        "`airflow_members`: who Airflow's workers and triggerer are to Google. Whoever signs otherwise is given the "
        "roles that the outputs name, where and under which conditions they say."
    )
    for pipeline in pipelines:
        if "train" in pipeline.tasks and not pipeline.platform.service_account:
            root.notes.append(
                f"{pipeline.asked('platform')}: names no service_account: jobs of {pipeline.name} run as Vertex AI's "
                "own agent, which may read and write every bucket of the project."
            )
    for key in gcp.named_keys:
        root.notes.append(
            f"The key {key} has to let its project's service agents of Cloud Storage, Vertex AI and, for images, "
            "Artifact Registry use it (`roles/cloudkms.cryptoKeyEncrypterDecrypter`)."
        )
    for pipeline in pipelines:
        image = image_of(pipeline.spec.train.image)
        if image is not None and image.project != pipeline.platform.project:
            root.notes.append(
                f"{pipeline.asked('train.image')}: let Vertex AI's service agent of the project read the repository "
                f"{image.name} of {image.project}."
            )
    _tell_of_ends(root, modules)


def _tell_of_ends(root: Root, modules: set[str]) -> None:
    if "repository" in modules:
        root.notes.append("Push the image before the first training; a tag cannot be pushed again.")
        root.teardown.append("A repository is removed with the images in it.")
    if {"bucket", "kept_bucket"} & modules:
        root.teardown.append("Buckets are kept: empty them, and take `prevent_destroy` out of their module first.")
    if "key" in modules:
        root.teardown.append(
            "The key is kept, too. Once its versions are destroyed, what it encrypted can never be read again. Google "
            "never removes key rings: to apply this again, import it, or set another `prefix`."
        )
    if "metrics" in modules:
        root.teardown.append("With the metrics go the numbers that the monitors wrote.")
    root.teardown.append("Services stay on: others in the project may use them.")
