"""One pipeline's use of Google Cloud, with every name as Terraform's root knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ACCOUNT: Final = re.compile(r"(?P<name>[^@]+)@(?P<project>[^@]+)\.iam\.gserviceaccount\.com")
_IMAGE: Final = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<name>[^/:@]+)/[^:@]+(?:[:@].+)?"
)
_KEY: Final = re.compile(r"projects/[^/]+/locations/(?P<location>[^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")


@dataclass(frozen=True)
class Account:
    """A service account of people's making: its name in its project."""

    name: str
    project: str


@dataclass(frozen=True)
class Image:
    """An image in Artifact Registry: where its repository is."""

    location: str
    project: str
    name: str


def account_of(email: str | None) -> Account | None:
    """The parts of a service account's address; ``None`` if it is none that people make."""
    found = _ACCOUNT.fullmatch(email or "")
    if found is None:
        return None
    # A project of a domain (`example.com:ml`) is turned round in its accounts' addresses.
    name, _, domain = found["project"].partition(".")
    return Account(found["name"], f"{domain}:{name}" if domain else name)


def image_of(image: str | None) -> Image | None:
    """The repository of an image in Artifact Registry; ``None`` if it lies elsewhere."""
    found = _IMAGE.fullmatch(image or "")
    return None if found is None else Image(**found.groupdict())


def location_of(key: str) -> str | None:
    """Where an encryption key is; ``None`` if that is no key's name."""
    found = _KEY.fullmatch(key)
    return None if found is None else found["location"]


def bucket_of(address: str) -> tuple[str, str]:
    """Bucket and path of an address ``gs://BUCKET/PATH``; the path has no slash at its ends."""
    bucket, _, path = address.removeprefix("gs://").partition("/")
    return bucket, path.strip("/")


@dataclass(frozen=True)
class Folder:
    """A folder in a bucket. ``plain``: the bucket's name as the spec has it; ``name``: as Terraform's variable has it;
    ``bucket``: the same once the bucket is there. ``path`` ends with a slash, unless it is empty: all of the bucket."""

    plain: str
    name: str
    bucket: str
    path: str


@dataclass(frozen=True)
class Using:
    """What the roles of one pipeline are made of. Every text may hold expressions of Terraform.

    ``work`` is the folder that jobs use, ``checkpoints`` that of checkpoints; ``sources`` are objects
    that rows are read from, whose whole name is the ``path``; ``account`` is the address of the service
    account that jobs run as, ``account_name`` its resource name; ``keeps_for``: data versions end by a rule of the
    bucket's lifecycle.
    """

    project: str
    work: Folder
    checkpoints: Folder | None = None
    sources: tuple[Folder, ...] = ()
    account: str = ""
    account_name: str = ""
    keeps_for: bool = False
