"""What pipelines store: keys, buckets, logs, images."""

from __future__ import annotations

from typing import Final

from tidemill.infra.gcp.base import Gcp
from tidemill.infra.gcp.using import bucket_of, image_of, location_of
from tidemill.infra.hcl import Raw, Value
from tidemill.infra.kept import addresses, days_of, ends_versions
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import InfraProblem, Pipeline
from tidemill.infra.root import Made

_RING: Final = Limit("a key ring's name", 63)
_LOGS: Final = Limit("a log bucket's name", 100)
"""Cloud KMS and Cloud Logging, their API references, November 2026."""


def keys(gcp: Gcp) -> None:
    """The keys that specs name are used; where a spec names none, one is created for the buckets that are."""
    for key in gcp.needs.named("platform.encryption_key", lambda p: p.platform.encryption_key):
        for pipeline in key.users:
            place = location_of(key.name)
            if place != pipeline.platform.region:
                raise InfraProblem(
                    f"{pipeline.asked('platform.encryption_key')}: {key.name} is "
                    f"{f'in {place}' if place else 'no projects/…/locations/…/keyRings/…/cryptoKeys/…'}, and encrypts "
                    f"only what is in the same place: name a key in {pipeline.platform.region}"
                )
        label = gcp.root.label("key", key.name.rpartition("/")[2], key.asked)
        gcp.named_keys[key.name] = gcp.root.variable(label, "string", "The key that encrypts.", key.name, key.asked)
        gcp.root.used.append(Made("encryption key", key.name, key.asked))
    needed = [p for p in gcp.needs.pipelines if not p.platform.encryption_key and "bucket" not in p.existing]
    if not needed:
        return
    asked = tuple(p.asked("platform.bucket") for p in needed)
    checked(gcp.prefix, _RING, asked)
    gcp.services.add("cloudkms")
    gcp.root.module(
        "key",
        "key",
        {"name": Raw("var.prefix"), "project": Raw(gcp.project), "location": Raw("var.region")},
        Made("encryption key", f"{gcp.prefix}/storage", asked),
    )
    gcp.created_key = "module.key.id"


def buckets(gcp: Gcp) -> None:
    """Every bucket that anything is kept in, with how long."""
    for bucket in gcp.needs.among("bucket", lambda p: [(key, bucket_of(uri)[0]) for key, uri in addresses(p)]):
        label = gcp.root.label("bucket", bucket.name, bucket.asked)
        variable = gcp.root.variable(label, "string", "A bucket's name.", bucket.name, bucket.asked)
        gcp.buckets[bucket.name] = variable
        made = Made("bucket", bucket.name, bucket.asked)
        if bucket.existing:
            gcp.root.used.append(made)
            continue
        inputs: dict[str, Value] = {
            "name": variable,
            "project": Raw(gcp.project),
            "location": Raw("var.region"),
            "kms_key_name": Raw(gcp.key(bucket.users[0])),
        }
        # The lifecycle has rules of Tidemill's own, for data versions (`data.keep`): Terraform would remove them.
        kind = "kept_bucket" if any(ends_versions(pipeline) for pipeline in bucket.users) else "bucket"
        if kind == "bucket":
            inputs["days"] = days_of(gcp.root, bucket, bucket_of)
        gcp.services.add("storage")
        gcp.buckets[bucket.name] = f"{gcp.root.module(kind, label, inputs, made)}.name"


def logs(gcp: Gcp) -> None:
    """The log bucket of trainings, and the way into it."""
    name = f"{gcp.prefix}-trainings"
    for found in gcp.needs.among("logs", lambda p: [("train", name)] if "train" in p.tasks else []):
        made = Made("log bucket", name, found.asked)
        if found.existing:
            gcp.root.used.append(made)
            continue
        checked(name, _LOGS, found.asked)
        gcp.services.add("logging")
        inputs: dict[str, Value] = {
            "name": Raw('"${var.prefix}-trainings"'),
            "project": Raw(gcp.project),
            "location": Raw("var.region"),
            "retention_days": gcp.root.variable("log_days", "number", "Days for which logs are kept.", 365),
        }
        gcp.root.module("logs", "logs", inputs, made)


def repositories(gcp: Gcp) -> None:
    """Repositories of the project's own Artifact Registry; what lies elsewhere is somebody else's."""
    for found in gcp.needs.among("image", own_repositories):
        location, _, name = found.name.partition("/")
        made = Made("image repository", found.name, found.asked)
        if found.existing:
            gcp.root.used.append(made)
            continue
        label = gcp.root.label("repository", found.name, found.asked)
        named = found.users[0].platform.encryption_key
        gcp.services.add("artifactregistry")
        inputs: dict[str, Value] = {
            "name": name,
            "project": Raw(gcp.project),
            "location": location,
            "kms_key_name": Raw(gcp.named_keys[named]) if named else Raw("null"),
            "untagged_days": gcp.root.variable(
                "untagged_days", "number", "Days for which images without a tag are kept.", 14
            ),
        }
        gcp.root.output(f"{label}_url", Raw(f"{gcp.root.module('repository', label, inputs, made)}.url"),
                         "What images are pushed to.")  # fmt: skip


def own_repositories(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The repositories of a pipeline's image that are of the project's own, as LOCATION/NAME, with the spec's key."""
    image = image_of(pipeline.spec.train.image)
    if image is None or image.project != pipeline.platform.project:
        return []
    return [("train.image", f"{image.location}/{image.name}")]
