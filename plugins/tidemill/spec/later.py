"""What the language has room for and this version does not do: errors at their line, never ignored."""

from __future__ import annotations

from typing import Any

from tidemill import __version__
from tidemill.spec.document import Path

HINT = "remove it; see docs/language.md for what this version reads"

_KEYS: dict[tuple[str, ...], str] = {
    ("deploy",): "deployment",
    ("budget",): "budgets",
    ("search",): "hyperparameter search",
    ("train", "budget"): "budgets",
    ("train", "search"): "hyperparameter search",
}
_VALUES: dict[tuple[str, ...], set[str]] = {
    ("data", "version"): {"delta"},
    ("train", "track"): {"wandb", "comet", "neptune"},
    ("promote", "registry"): {"sagemaker", "vertex", "azureml"},
}


def key(path: Path) -> str | None:
    """The message for a key of a later version; ``None`` if it is none."""
    what = _KEYS.get(tuple(str(part) for part in path))
    return f"not in Tidemill {__version__}: {what}" if what else None


def value(path: Path, given: Any) -> str | None:
    """The message for a value of a later version; ``None`` if it is none."""
    names = tuple(str(part) for part in path if isinstance(part, str))
    if isinstance(given, str) and given in _VALUES.get(names, ()):
        return f'not in Tidemill {__version__}: "{given}"'
    return None
