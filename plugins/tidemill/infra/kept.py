"""How long a bucket of the pipelines keeps what, whichever cloud it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tidemill.infra.hcl import Value
from tidemill.infra.needs import Named, Pipeline
from tidemill.infra.root import Root


def addresses(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Where a pipeline keeps anything: the spec's key, and the address."""
    if pipeline.platform.bucket:
        yield "platform.bucket", pipeline.platform.bucket
    spot = pipeline.spec.train.resources.spot
    if spot is not None:
        yield "train.resources.spot.checkpoint", spot.checkpoint


def days_of(root: Root, bucket: Named, bucket_of: Callable[[str], tuple[str, str]]) -> dict[str, Value]:
    """Prefix → how long what lies below it is kept. Data versions are not ended by age: they lie between the files of
    jobs, so a folder that has any keeps everything."""
    found: dict[str, Value] = {}
    kept: set[str] = set()
    for pipeline in bucket.users:
        for key, uri in addresses(pipeline):
            name, path = bucket_of(uri)
            if name != bucket.name:
                continue
            if key == "platform.bucket":
                prefix = "/".join(filter(None, (path, "tidemill"))) + "/"
                told, days = "Days for which code, data and outputs of jobs are kept.", ("work_days", 180)
            else:
                prefix = f"{path}/" if path else ""
                told, days = "Days for which checkpoints are kept.", ("checkpoint_days", 30)
            if not prefix:  # checkpoints in the bucket itself, between everything else
                continue
            found[prefix] = root.variable(days[0], "number", told, days[1])
            if "versions" in pipeline.tasks and key == "platform.bucket":
                kept.add(prefix)
    return {prefix: found[prefix] for prefix in sorted(found) if not any(one.startswith(prefix) for one in kept)}


def ends_versions(pipeline: Pipeline) -> bool:
    """Whether a pipeline has a rule of its own in the bucket, which ends its data versions."""
    return "versions" in pipeline.tasks and pipeline.spec.data.keep is not None
