"""Azure's storage, with the credentials that its own tools read from the environment."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from tidemill.drift.errors import DriftError


def azure_place(uri: str) -> tuple[Any, str]:
    """The file system of an abfs:// URI and the path on it: abfs://container@account.dfs.core.windows.net/path, or
    abfs://container/path with the account from the environment (AZURE_STORAGE_ACCOUNT, or a connection string).

    The key is AZURE_STORAGE_KEY, or that of AZURE_STORAGE_CONNECTION_STRING; or AZURE_STORAGE_SAS_TOKEN; without
    either, whatever identity the machine has.

    Raises:
        DriftError: neither the URI nor the environment names an account.
    """
    import pyarrow.fs as fs

    parts = urlsplit(uri)
    container, _, host = parts.netloc.rpartition("@")
    container, account = (container, host.partition(".")[0]) if container else (host, "")
    joined = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    text = dict(pair.partition("=")[::2] for pair in joined.split(";") if pair)
    account = account or _first("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME") or text.get("AccountName", "")
    if not account:
        raise DriftError(
            f"{uri} names no account: write abfs://container@account.dfs.core.windows.net/path, or set "
            "AZURE_STORAGE_ACCOUNT."
        )
    options: dict[str, Any] = {
        "account_key": _first("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY") or text.get("AccountKey") or None,
        "sas_token": os.environ.get("AZURE_STORAGE_SAS_TOKEN") or text.get("SharedAccessSignature") or None,
    }
    endpoint = urlsplit(text.get("BlobEndpoint", ""))
    if endpoint.netloc:
        options |= {"blob_storage_authority": endpoint.netloc, "dfs_storage_authority": endpoint.netloc}
        options |= {"blob_storage_scheme": endpoint.scheme, "dfs_storage_scheme": endpoint.scheme}
    return fs.AzureFileSystem(account, **options), container + parts.path.rstrip("/")


def _first(*names: str) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
