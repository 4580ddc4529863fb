"""Versions of objects in Cloud Storage (their generations), and the rule for their end among the bucket's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tidemill.platforms.gcp.account import SECONDS, open_account
from tidemill.platforms.gcp.storage import CloudStorage, split
from tidemill.platforms.ports import Connections, PlatformError, VersionGone
from tidemill.spec.platform import Platform

_RACES: Final = 5
_CHANGE: Final = (
    "change the lifecycle of the bucket of",
    "storage.buckets.update",
    "roles/storage.admin on the bucket",
)


def open_versions(platform: Platform, connections: Connections) -> CloudVersions:
    """The port ``ObjectVersions`` over Cloud Storage.

    Raises:
        PlatformError: no connection or project.
    """
    return CloudVersions(CloudStorage(open_account(platform, connections)))


class CloudVersions:
    """The port ``ObjectVersions`` of ``gs://`` addresses."""

    def __init__(self, storage: CloudStorage) -> None:
        self._storage = storage

    def put(self, file: Path, uri: str) -> str:
        """See the port. Every object has a generation; whether older ones stay is the bucket's own setting."""
        self._check(uri)
        return str(self._storage.put_generation(file, uri))

    def get(self, uri: str, version: str, file: Path) -> None:
        """See the port."""
        from google.api_core.exceptions import NotFound

        try:
            self._storage.get(uri, file, _generation(version))
        except PlatformError as error:
            if isinstance(error.__cause__, NotFound):
                raise VersionGone(str(error)) from None
            raise

    def has(self, uri: str, version: str, size: int) -> bool:
        """See the port."""
        from google.api_core.exceptions import NotFound

        with self._storage.told(uri, "look at", "storage.objects.get"):
            try:
                return bool(self._storage.look(uri, _generation(version)).size == size)
            except (NotFound, VersionGone):
                return False

    def newest(self, uri: str) -> str:
        """See the port."""
        from google.api_core.exceptions import NotFound

        self._check(uri)
        with self._storage.told(uri, "look at", "storage.objects.get"):
            try:
                return str(self._storage.look(uri).generation)
            except NotFound:
                raise VersionGone(f"there is no {uri}") from None

    def expire(self, uri: str, name: str, days: int | None) -> None:
        """See the port. A rule has no name here: ours is the one of its form about this folder alone. The
        service refuses the change of a bucket that somebody changed since it was read, which is then read again."""
        from google.api_core.exceptions import PreconditionFailed

        prefix = f"{split(uri)[1].rstrip('/')}/"
        for _ in range(_RACES):
            bucket = self._storage.bucket(uri)
            rules = _rules(uri, bucket)
            others = [rule for rule in rules if not _is_ours(rule, prefix)]
            wanted = others if days is None else [*others, _rule(prefix, days)]
            if sorted(map(repr, rules)) == sorted(map(repr, wanted)):
                return
            bucket.lifecycle_rules = wanted
            with self._storage.told(uri, *_CHANGE):
                try:
                    bucket.patch(
                        if_metageneration_match=bucket.metageneration, timeout=SECONDS, retry=self._storage.retry
                    )
                except PreconditionFailed:
                    continue
                return
        raise PlatformError(f"change the lifecycle of {uri}: somebody else keeps changing the bucket")

    def _check(self, uri: str) -> None:
        if not self._storage.bucket(uri).versioning_enabled:
            bucket = split(uri)[0]
            raise PlatformError(
                f"the bucket {bucket!r} keeps no versions of its objects; switch them on: gcloud storage buckets "
                f"update gs://{bucket} --versioning",
                fault="user",
            )


def _generation(version: str) -> int:
    if not version.isdigit():
        raise VersionGone(f"{version!r} is no generation of Cloud Storage")
    return int(version)


def _rules(uri: str, bucket: Any) -> list[dict[str, Any]]:
    """The bucket's rules. Its library leaves out, with a warning, those of a kind that it does not know: written back
    without them they would be lost.

    Raises:
        PlatformError: there are such.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return [dict(rule) for rule in bucket.lifecycle_rules]
        except UserWarning as unknown:
            raise PlatformError(
                f"change the lifecycle of {uri}: the bucket has a rule that this version of google-cloud-storage does "
                f"not know, and would lose it: {unknown}",
                fault="user",
            ) from None


def _is_ours(rule: Any, prefix: str) -> bool:
    days = rule.get("condition", {}).get("daysSinceNoncurrentTime")
    return days is not None and bool(rule == _rule(prefix, days))


def _rule(prefix: str, days: int) -> dict[str, Any]:
    return {"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": days, "matchesPrefix": [prefix]}}
