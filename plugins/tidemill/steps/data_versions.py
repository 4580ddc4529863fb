"""A pipeline's data versions, as its steps reach them: by their records, whatever keeps them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.ledger import Entry, views
from tidemill.records import DataVersion
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read

if TYPE_CHECKING:
    from tidemill.tools.versions import DataVersions

Stores = Callable[[str], "DataVersions"]
"""What keeps the versions of a backend (``dvc``, ``object-store``)."""


def stores_of(ctx: StepContext) -> Stores:
    """What keeps the data versions of a step's pipeline."""

    def installation() -> str:
        from tidemill.ledger.installation import installation_id

        with ctx.open_ledger() as ledger:
            return installation_id(ledger)

    def opened(backend: str) -> DataVersions:
        from tidemill.tools.versions import open_versions

        return open_versions(
            backend, ctx.spec, ctx.project, ctx.connections, pipeline=ctx.pipeline, installation=installation
        )

    return opened


def fetched(ctx: StepContext, data: DataVersion) -> Path:
    """A folder with the two files of a data version, checked, to be read only.

    Raises:
        StepError: it is gone or damaged, or cannot be fetched (``retry``).
    """
    return stores_of(ctx)(data.backend).fetch(data)


def protect_champion(stores: Stores, entries: Iterable[Entry], log: logging.Logger) -> None:
    """Have no lifecycle end the data version that the champion in force was trained on.

    Whatever hinders it is a warning: it stops no training and no promotion, and is tried again at each of them.
    """
    entries = list(entries)
    entry = views.champion(entries)
    data = None if entry is None else last(entries, str(entry.body.get("data_version")))
    if data is None:
        return
    try:
        stores(data.backend).protect(data)
    except StepError as error:
        log.warning("what the champion was trained on is not protected from the lifecycle of versions: %s", error)


def last(entries: Iterable[Entry], version: str | None = None) -> DataVersion | None:
    """The latest record in the ledger of a data version, or of any."""
    found = None
    for entry in entries:
        if entry.kind == views.DATA_VERSION and version in (None, entry.body.get("version")):
            found = entry
    return None if found is None else read(found, DataVersion)
