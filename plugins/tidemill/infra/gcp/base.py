"""A root of Google Cloud as it grows: what was added to it, by name, for what refers to it later."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidemill.infra.needs import Needs, Pipeline
from tidemill.infra.root import Root


@dataclass
class Gcp:
    """The needs and the root.

    ``project``: the expression for the project once its services are on; ``services``: those that are needed;
    ``created_key``: the expression for the key that the root creates, empty if none; ``named_keys``: key as a spec
    names it → its variable; ``buckets``, ``accounts``: as a spec names them → the expression for the name, once it is
    there.
    """

    needs: Needs
    prefix: str
    root: Root
    project: str = "module.services.project"
    services: set[str] = field(default_factory=set)
    created_key: str = ""
    named_keys: dict[str, str] = field(default_factory=dict)
    buckets: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)

    def key(self, pipeline: Pipeline) -> str:
        """The expression for the key that encrypts what a pipeline stores."""
        named = pipeline.platform.encryption_key
        return self.named_keys[named] if named else self.created_key
