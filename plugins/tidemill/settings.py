"""Tidemill's own settings: section ``[tidemill]`` of Airflow's configuration, read without importing Airflow.

The command line, the checks and each task's process ask for them; importing Airflow for that would take a second.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from tidemill.errors import TidemillError

SECTION = "tidemill"
ENVIRONMENT: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_-]{0,21}[A-Za-z0-9])?")
"""An environment's name, where the names of jobs, of connections and of what Terraform makes hold it."""
_State = tuple[int, int, int]


def setting(name: str, section: str = SECTION) -> str:
    """The setting ``name`` (lower case), without the white space around it; empty if it is not set.

    The environment variable ``AIRFLOW__TIDEMILL__NAME`` goes before the configuration file, as in Airflow. Of other
    sections than Tidemill's only what is written is seen, not Airflow's defaults.

    Raises:
        TidemillError: the configuration file cannot be read.
    """
    from_environment = os.environ.get(f"AIRFLOW__{section.upper()}__{name.upper()}")
    if from_environment is not None:
        return from_environment.strip()
    file = configuration_file()
    try:
        stat = os.stat(file)
    except OSError:
        return ""
    return _section(file, section, (stat.st_mtime_ns, stat.st_size, stat.st_ino)).get(name.lower(), "").strip()


def environment() -> str | None:
    """The name of the environment whose overlay is laid over every spec; ``None`` if none is chosen."""
    return os.environ.get("TIDEMILL_ENVIRONMENT", "").strip() or setting("environment") or None


@contextmanager
def chosen(environment: str | None) -> Iterator[None]:
    """An environment as the one whose overlays are used, for a while; ``None``: the one that is set."""
    before = os.environ.get("TIDEMILL_ENVIRONMENT")
    if environment is not None:
        os.environ["TIDEMILL_ENVIRONMENT"] = environment
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TIDEMILL_ENVIRONMENT", None)
        else:
            os.environ["TIDEMILL_ENVIRONMENT"] = before


def allow() -> tuple[str, ...]:
    """Names and globs of classes and functions that specs may name besides the default ones."""
    return tuple(setting("allow").replace(",", " ").split())


def configuration_file() -> str:
    """Where Airflow looks for its configuration, whether or not there is a file."""
    chosen = os.environ.get("AIRFLOW_CONFIG")
    if chosen:
        return _expanded(chosen)
    return os.path.join(_expanded(os.environ.get("AIRFLOW_HOME") or "~/airflow"), "airflow.cfg")


def _expanded(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))


@lru_cache(maxsize=4)
def _section(file: str, section: str, state: _State) -> dict[str, str]:
    # `state` is part of the key: an edit is seen without a restart.
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
        # Airflow's file has thousands of lines, and every task's process would read all of them for these.
        parts = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
        parser.read_string("".join(part for part in parts if part.startswith(f"[{section}]")), file)
    except (OSError, UnicodeDecodeError, configparser.Error) as e:
        reason = " ".join(str(e).split())
        raise TidemillError(f"{file} cannot be read as Airflow's configuration: {reason}") from None
    return dict(parser.items(section)) if parser.has_section(section) else {}
