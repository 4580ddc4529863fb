"""Which of a job's machines this is, as each service tells it, and what libraries are told of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .files import BadFile

SERVICES = ("sagemaker", "batch", "vertex", "azureml", "kubernetes")
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
"""How libraries are told the number of processors, which in a container is not that of the machine."""


def base_folder() -> Path:
    """SageMaker's folder; the variable is that of its public toolkit."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def rank_of(service: str) -> tuple[int, int]:
    """This machine's number, from 0, and how many there are. A service that says nothing has started one.

    Raises:
        BadFile: what the service says makes no sense.
    """
    try:
        if service == "sagemaker":
            rank, size = _sagemaker()
        elif service == "vertex":
            rank, size = _vertex()
        else:
            rank, size = (_number(names, default) for names, default in zip(_NAMES[service], (0, 1)))
        if not 0 <= rank < size:
            raise ValueError(f"machine {rank} of {size}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadFile(f"{service} does not say which machine this is: {type(e).__name__}: {e}") from None
    return rank, size


_NAMES = {
    "batch": (("AWS_BATCH_JOB_NODE_INDEX",), ("AWS_BATCH_JOB_NUM_NODES",)),
    # Set by Azure ML's distributions of PyTorch and of MPI, and by none.
    "azureml": (
        ("RANK", "NODE_RANK", "OMPI_COMM_WORLD_RANK"),
        ("WORLD_SIZE", "AZUREML_NODE_COUNT", "OMPI_COMM_WORLD_SIZE"),
    ),
    # Kubernetes tells the index of an Indexed job, and the number of them to nobody: our own variable holds it.
    "kubernetes": (("JOB_COMPLETION_INDEX",), ("TIDEMILL_WORLD_SIZE",)),
}


def _number(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), default)


def _sagemaker() -> tuple[int, int]:
    """``input/config/resourceconfig.json`` ("How Amazon SageMaker AI provides training information")."""
    file = base_folder() / "input" / "config" / "resourceconfig.json"
    if not file.exists():
        return 0, 1
    told = json.loads(file.read_text(encoding="utf-8"))
    hosts = sorted(told["hosts"])
    return hosts.index(told["current_host"]), len(hosts)


def _vertex() -> tuple[int, int]:
    """``CLUSTER_SPEC`` ("Distributed training": the machines of the worker pools, in order)."""
    if not os.environ.get("CLUSTER_SPEC"):
        return 0, 1
    told = json.loads(os.environ["CLUSTER_SPEC"])
    pools = {name: len(machines) for name, machines in sorted(told["cluster"].items()) if machines}
    before = sum(size for name, size in pools.items() if name < told["task"]["type"])
    return before + int(told["task"]["index"]), sum(pools.values())
