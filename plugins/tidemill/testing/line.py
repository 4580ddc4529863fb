"""The line by which a step that runs in a Python of its own (``virtualenv``, ``external_python``) asks its supervisor.

It imports Airflow, and so is imported when a step is run.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from airflow.sdk.execution_time import comms
from pydantic import TypeAdapter

_ADDRESS = "__AIRFLOW_SUPERVISOR_FD"
"""Where Airflow's script in the other Python finds the line."""
_HEAD = 4
"""Bytes before each frame that tell its length."""


@contextmanager
def open_line(answer: Callable[[Any], Any]) -> Iterator[None]:
    """Have ``answer`` asked by processes that the step starts, for a while."""
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    before = os.environ.get(_ADDRESS)
    os.environ[_ADDRESS] = str(theirs.fileno())
    thread = threading.Thread(target=_serve, args=(ours, answer), daemon=True)
    thread.start()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS]
        else:
            os.environ[_ADDRESS] = before
        theirs.close()
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
        ours.close()


def _serve(line: socket.socket, answer: Callable[[Any], Any]) -> None:
    decode = msgspec.msgpack.Decoder(comms._RequestFrame).decode
    read: TypeAdapter[Any] = TypeAdapter(comms.ToSupervisor)
    while (head := _exactly(line, _HEAD)) and (body := _exactly(line, int.from_bytes(head))):
        frame = decode(body)
        message = read.validate_python(frame.body)
        if isinstance(message, comms.ResendLoggingFD):
            log = os.dup(1)
            sent = comms.SentFDs(fds=[log]).model_dump()
            socket.send_fds(line, [comms._ResponseFrame(frame.id, sent).as_bytes()], [log])
            os.close(log)
            continue
        try:
            line.sendall(comms._ResponseFrame(frame.id, answer(message).model_dump()).as_bytes())
        except LookupError as e:
            error = comms.ErrorResponse(detail={"message": str(e)}).model_dump()
            line.sendall(comms._ResponseFrame(frame.id, None, error).as_bytes())


def _exactly(line: socket.socket, size: int) -> bytes:
    """So many bytes; fewer where the other end has gone."""
    found = b""
    while len(found) < size and (part := line.recv(size - len(found))):
        found += part
    return found
