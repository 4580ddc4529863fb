"""Trainings as runs of Vertex AI's experiments: contexts of the project's metadata store, written as Google's SDK does,
so that its console and ``aiplatform.get_experiment_df`` show them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tidemill.platforms.gcp.account import SECONDS, Account, open_account, retry
from tidemill.platforms.gcp.errors import Call, told
from tidemill.platforms.ports import Connections, PlatformError, TrackedTraining
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient
    from google.cloud.aiplatform_v1.types import Context

_ROLE: Final = "roles/aiplatform.user"
_VERSION: Final = "0.0.1"
_EXPERIMENT, _RUN = "system.Experiment", "system.ExperimentRun"
_MAX_ID: Final = 128
_STORE_SECONDS: Final = 120.0


def open_tracking(platform: Platform, connections: Connections) -> VertexExperiments:
    """Vertex AI's experiments of the platform's project and region.

    Raises:
        PlatformError: no connection, project or region.
    """
    account = open_account(platform, connections)
    if not account.region:
        raise PlatformError("platform.region is missing: Vertex AI's experiments are kept in a region", fault="user")
    return VertexExperiments(account, platform.encryption_key)


class VertexExperiments:
    """The ``Tracking`` of one project and region."""

    def __init__(self, account: Account, encryption_key: str | None = None) -> None:
        self.account = account
        self._encryption_key = encryption_key

    @cached_property
    def _client(self) -> MetadataServiceClient:
        from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

        return MetadataServiceClient(**self.account.vertex_options())

    def log(self, training: TrackedTraining) -> str:
        """Write a training as a run; written again, it is the same run with the newer values."""
        from google.cloud.aiplatform_v1.types import Context

        with told(self.account, Call(f"track {training.name}", "aiplatform.contexts.create", _ROLE)):
            self._ensure_store()
            experiment = identity(training.experiment)
            parent = self._kept(
                experiment,
                Context(
                    display_name=training.experiment,
                    schema_title=_EXPERIMENT,
                    schema_version=_VERSION,
                    metadata={"experiment_deleted": False},
                ),
            )
            if parent.schema_title != _EXPERIMENT:
                raise PlatformError(
                    f"track {training.name}: {parent.name} is a {parent.schema_title}, not an experiment; name the "
                    "pipeline otherwise, or remove it",
                    fault="user",
                )
            run = self._kept(identity(f"{experiment}-{training.name}"), _run(training), update=True)
            request = {"context": parent.name, "child_contexts": [run.name]}
            self._client.add_context_children(request=request, retry=retry(), timeout=SECONDS)
        return (
            f"https://console.cloud.google.com/vertex-ai/experiments/locations/{self.account.region}/experiments/"
            f"{experiment}/runs/{run.name.rpartition('/')[2]}?project={quote(self.account.project)}"
        )

    @property
    def _store(self) -> str:
        return f"{self.account.location}/metadataStores/default"

    def _ensure_store(self) -> None:
        """The project's default store, which its first user makes."""
        from google.api_core.exceptions import AlreadyExists, Conflict, NotFound
        from google.cloud.aiplatform_v1.types import EncryptionSpec, MetadataStore

        try:
            self._client.get_metadata_store(name=self._store, retry=retry(), timeout=SECONDS)
        except NotFound:
            store = MetadataStore()
            if self._encryption_key:
                store.encryption_spec = EncryptionSpec(kms_key_name=self._encryption_key)
            try:
                making = self._client.create_metadata_store(
                    parent=self.account.location,
                    metadata_store=store,
                    metadata_store_id="default",
                    retry=retry(),
                    timeout=SECONDS,
                )
                making.result(timeout=_STORE_SECONDS)
            except (AlreadyExists, Conflict):
                return

    def _kept(self, name: str, context: Context, *, update: bool = False) -> Context:
        """The context of that id: the one that is there (``update``: with these values), or a new one."""
        from google.api_core.exceptions import AlreadyExists, Conflict
        from google.protobuf.field_mask_pb2 import FieldMask

        path = f"{self._store}/contexts/{name}"
        try:
            # Its own id makes a repeated call harmless: the second one is refused.
            return self._client.create_context(
                parent=self._store, context=context, context_id=name, retry=retry(), timeout=SECONDS
            )
        except (AlreadyExists, Conflict):
            if not update:
                return self._client.get_context(name=path, retry=retry(), timeout=SECONDS)
        context.name = path
        mask = FieldMask(paths=["metadata", "labels"])
        return self._client.update_context(context=context, update_mask=mask, retry=retry(), timeout=SECONDS)


def identity(name: str) -> str:
    """A name as the id of a context, ``[a-z0-9][a-z0-9-]{0,127}``; one that has to be changed keeps a digest of it."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).lstrip("-") or "x"
    if plain == name and len(name) <= _MAX_ID:
        return name
    if plain == name.replace("_", "-").lower() and len(plain) <= _MAX_ID and name == name.lower():
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: _MAX_ID - len(digest) - 1].rstrip('-')}-{digest}"


def _run(training: TrackedTraining) -> Context:
    from google.cloud.aiplatform_v1.types import Context

    # The SDK writes params and metrics as text or numbers under these keys, and reads them so.
    return Context(
        display_name=training.name,
        schema_title=_RUN,
        schema_version=_VERSION,
        labels=_labels(training.tags),
        metadata={
            "_params": {key: _plain(value) for key, value in training.params.items()},
            "_metrics": {key: value for key, value in training.metrics.items() if math.isfinite(value)},
            "_state": "COMPLETE",
        },
    )


def _plain(value: Any) -> float | int | str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def _labels(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as labels: lowercase letters, digits, underscores and dashes, 64 characters, at most 64 of them."""

    def clean(text: str) -> str:
        return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:64]

    return {clean(key): clean(value) for key, value in list(tags.items())[:64]}
