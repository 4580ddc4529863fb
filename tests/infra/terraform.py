"""The real Terraform, with providers that know their schemas and nothing else.

A provider is a gRPC server of this process (Terraform's plugin protocol 6), to which Terraform is attached by
``TF_REATTACH_PROVIDERS``: neither a registry nor an account is asked. It answers with the schemas in ``schemas``, which
``scripts/terraform_schemas.py`` reads out of the providers' own; what a schema tells, Terraform checks by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import grpc

SCHEMAS: Final = Path(__file__).parent / "schemas"
_LIST_OF_BLOCKS: Final = 2
_MOST_BYTES: Final = 64 << 20


def schema(provider: str) -> dict[str, Any]:
    """The reduced schemas of a provider."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{provider}.json").read_text())
    return found


class _Provider(grpc.GenericRpcHandler):
    """Answers what ``terraform validate`` asks: the schemas, and that nothing else is wrong."""

    def __init__(self, provider: str) -> None:
        self._answer = _schemas(schema(provider))

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "GetProviderSchema":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer)
        if method.startswith("Validate") or method in ("ConfigureProvider", "StopProvider"):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
        return None


@cache
def _attached(provider: str) -> dict[str, Any]:
    """How Terraform reaches a provider, which is served until this process ends."""
    source = schema(provider)["provider"].split()[0]
    server = grpc.server(ThreadPoolExecutor(4, "provider"), handlers=(_Provider(provider),), options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _SERVERS.append(server)
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    return {source: {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}}


_OPTIONS: Final = (("grpc.max_send_message_length", _MOST_BYTES),)
_SERVERS: Final[list[grpc.Server]] = []


def terraform(
    folder: Path, *arguments: str, provider: str | None = None, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Terraform in a folder, with its own home there, so that nobody's settings matter."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    (home / ".terraformrc").touch()
    attached = _attached(provider) if provider else {}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_REATTACH_PROVIDERS": json.dumps(attached),
    }
    command = ["terraform", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, input=said, capture_output=True, text=True, timeout=120)


def mistakes(folder: Path, provider: str) -> list[str]:
    """What ``terraform validate`` finds in a root: each with its file, line, summary and detail; warnings, too."""
    ready = terraform(folder, "init", "-backend=false", "-input=false", "-no-color", provider=provider)
    if ready.returncode:
        return [" ".join((ready.stderr or ready.stdout).split())]
    told = terraform(folder, "validate", "-json", provider=provider)
    found = json.loads(told.stdout)["diagnostics"]
    return [
        f"{(one.get('range') or {}).get('filename')}:{(one.get('range') or {}).get('start', {}).get('line')}: "
        f"{one['summary']}: {one.get('detail', '')}"
        for one in found
    ]


def unformatted(folder: Path) -> str:
    """What ``terraform fmt`` would change, as a diff."""
    return terraform(folder, "fmt", "-check", "-diff", "-recursive").stdout


# Terraform's plugin protocol, tfplugin6.proto: the messages that tell schemas.


def _schemas(told: Mapping[str, Any]) -> bytes:
    found = _field(1, _schema(told["configuration"]))
    for number, kind in ((2, "resources"), (3, "data")):
        for name, block in told[kind].items():
            found += _field(number, _field(1, name) + _field(2, _schema(block)))
    return found


def _schema(block: Mapping[str, Any]) -> bytes:
    return _field(2, _block(block))


def _block(block: Mapping[str, Any]) -> bytes:
    found = b"".join(_field(2, _attribute(name, kind, use)) for name, (kind, use) in block["attributes"].items())
    for name, inner in block["blocks"].items():
        limits = _number(4, inner["least"]) + _number(5, inner["most"])
        found += _field(3, _field(1, name) + _field(2, _block(inner)) + _number(3, _LIST_OF_BLOCKS) + limits)
    return found


def _attribute(name: str, kind: Any, use: str) -> bytes:
    # What may be given may be known only once it is made, too: `id`, `arn`.
    flags: Iterable[int] = {"required": (4,), "optional": (5, 6), "computed": (6,)}[use]
    return _field(1, name) + _field(2, json.dumps(kind)) + b"".join(_number(flag, 1) for flag in flags)


def _field(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
