"""Files by address: S3 (``s3://``), Cloud Storage (``gs://``), Azure Blob Storage
(``abfss://container@account.dfs.core.windows.net/``), and paths of this machine.

Credentials are those that the platform gives to a container; none are ever taken from a spec.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .web import StoreError

_SCHEMES = {"s3": "s3", "gs": "gcs", "abfss": "blob", "abfs": "blob"}
"""Where the class ``Store`` for a scheme is."""


def get(uri: str, path: str) -> None:
    """Fetch an object into a file, whole or not at all. Raises StoreError."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    part = f"{path}.part"
    store, key = _store(uri)
    store.get(key, part)
    os.replace(part, path)


def put(path: str, uri: str) -> None:
    """Store a file, whole or not at all. Raises StoreError."""
    store, key = _store(uri)
    store.put(path, key)


def objects(uri: str) -> Iterator[tuple[str, int]]:
    """The objects below a folder's address: their paths relative to it, and sizes. Raises StoreError."""
    store, key = _store(uri)
    prefix = key.rstrip("/") + "/" if key.rstrip("/") else ""
    for name, size in store.list(prefix):
        if not name.endswith("/") and name != prefix:
            yield name[len(prefix) :], size


def delete(uri: str) -> None:
    """Remove an object; none is fine. Raises StoreError."""
    store, key = _store(uri)
    store.delete(key)


def module_of(uri: str) -> str | None:
    """The module of this package with the store of an address; ``None`` for a path. Raises StoreError."""
    scheme, found, _ = uri.partition("://")
    if not found:
        return None
    if scheme not in _SCHEMES:
        raise StoreError(f"{uri}: no store of this kind is known ({', '.join(_SCHEMES)})", user=True)
    return _SCHEMES[scheme]


def _store(uri: str) -> tuple[Any, str]:
    module = module_of(uri)
    if module is None:
        return _Folder(), uri
    bucket, _, key = uri.partition("://")[2].partition("/")
    return import_module(f".{module}", __package__).Store(bucket), key


class _Folder:
    def get(self, key: str, path: str) -> None:
        try:
            shutil.copyfile(key, path)
        except FileNotFoundError:
            raise StoreError(f"{key}: there is no such file", user=True) from None

    def put(self, path: str, key: str) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(key)), exist_ok=True)
        shutil.copyfile(path, f"{key}.part")
        os.replace(f"{key}.part", key)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        for folder, _, names in sorted(os.walk(prefix)):
            for name in sorted(names):
                file = os.path.join(folder, name)
                yield file, os.path.getsize(file)

    def delete(self, key: str) -> None:
        if os.path.exists(key):
            os.unlink(key)
