"""Names that are made longer by a prefix, and what they may come to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidemill.infra.needs import Asked, InfraProblem

PREFIX: Final = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]")
"""What names may begin with, on every provider."""


@dataclass(frozen=True)
class Limit:
    """How long a name may be; ``what``: whose."""

    what: str
    most: int


def checked(name: str, limit: Limit, asked: tuple[Asked, ...]) -> str:
    """The name.

    Raises:
        InfraProblem: it is too long.
    """
    if len(name) > limit.most:
        raise InfraProblem(
            f"{asked[0]}: {name} has {len(name)} characters, and {limit.what} has {limit.most} at most: shorten it, or "
            "the --prefix"
        )
    return name
