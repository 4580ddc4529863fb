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
    ("platform", "region"): "platforms with regions",
    ("platform", "connection"): "platforms with credentials",
    ("platform", "role"): "platforms with credentials",
    ("platform", "bucket"): "platforms with buckets",
    ("platform", "project"): "platforms with credentials",
    ("platform", "namespace"): "platforms with namespaces",
    ("train", "service"): "training on a cloud service",
    ("train", "image"): "training in a container image",
    ("train", "budget"): "budgets",
    ("train", "search"): "hyperparameter search",
    ("train", "requirements"): "an environment per pipeline",
    ("train", "resources", "gpu"): "GPUs",
    ("train", "resources", "machine"): "machine types",
    ("train", "resources", "count"): "several machines",
    ("train", "resources", "spot"): "spot machines",
}
_VALUES: dict[tuple[str, ...], set[str]] = {
    ("platform", "provider"): {"aws", "gcp", "azure", "kubernetes"},
    ("data", "version"): {"delta", "object-store"},
    ("train", "track"): {"wandb", "comet", "neptune", "sagemaker", "vertex", "azureml"},
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
