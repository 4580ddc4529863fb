"""What can be said about sources that are addresses, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidemill.checks.platform import EXAMPLES, SCHEMES
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, printable
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec

_FILES: Final = (".parquet", ".pq", ".csv", ".csv.gz")


def check(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of `data.source`, `score.source` and `monitor.labels.source`, where they are addresses."""
    labels = spec.monitor.labels if spec.monitor is not None else None
    named: list[tuple[Path, str | None]] = [
        (("data", "source"), spec.data.source if spec.data is not None else None),
        (("score", "source"), spec.score.source if spec.score is not None else None),
        (("monitor", "labels", "source"), labels.source if labels is not None else None),
    ]
    split = spec.monitor is not None and spec.monitor.partitions is not None
    if split and spec.data is not None and "://" in spec.data.source:
        hint = "remove it, or name a folder of files in data.source"
        yield sources.error(("monitor", "partitions"), "an address is of one file", hint, key=True)
    for path, address in named:
        if address is not None and "://" in address and spec.platform is not None:
            yield from _address(spec, path, address, sources)


def _address(spec: Spec, path: Path, address: str, sources: Sources) -> Iterator[SpecError]:
    provider, scheme = spec.platform.provider, address.partition("://")[0]
    schemes = SCHEMES.get(provider, ())
    if provider == "kubernetes":  # what reaches its bucket reaches others of that cloud
        schemes = ((spec.platform.bucket or "").partition("://")[0],)
    if not schemes or not schemes[0]:
        hint = "name a file of the project, or one by its whole path"
        yield sources.error(path, "there is no store here to read an address from", hint)
    elif scheme not in schemes:
        hint = f"e.g. {EXAMPLES[schemes[0]]}/departures.parquet" if schemes[0] in EXAMPLES else "name a file"
        yield sources.error(path, f'"{printable(address)[:80]}" is no address of provider {provider}', hint)
    elif not address.lower().endswith(_FILES):
        yield sources.error(path, "an address is of one file", f"its name ends in {', '.join(_FILES)}")
