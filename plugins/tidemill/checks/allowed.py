"""Which classes and functions a spec may name. Nothing that is named is imported to find out.

The default lists are short; the setting ``allow`` adds exact names and globs. A name is judged by where its class is
defined, not only by how it is written: a module that imports ``Popen`` for itself does not offer it to specs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from tidemill import settings
from tidemill.checks.code import PROJECT_PACKAGE, is_compiled, module_file, origin, read_module, submodules
from tidemill.spec.errors import printable, suggest

Use = Literal["operator", "callable", "object", "notifier", "timetable", "trigger"]
Problem = tuple[str, str | None]
"""A message, and a hint."""

PROVIDERS = "airflow.providers"
_OURS = (f"{PROVIDERS}.*", f"{PROJECT_PACKAGE}.*")
DEFAULT: dict[Use, tuple[str, ...]] = {
    "operator": _OURS,
    "callable": (f"{PROJECT_PACKAGE}.*",),
    "object": (
        *_OURS,
        "kubernetes.client.models.*",
        "airflow.sdk.*",
        "datetime.timedelta",
        "datetime.datetime",
        "datetime.date",
        "datetime.time",
    ),
    "notifier": _OURS,
    "timetable": (*_OURS, "airflow.sdk.*", "airflow.timetables.*"),
    "trigger": _OURS,
}
"""What may be named without a setting."""

_STANDARD = f"{PROVIDERS}.standard"
STANDARD: dict[str, str] = {
    name: f"{_STANDARD}.{module}.{name}"
    for module, names in {
        "operators.bash": "BashOperator",
        "operators.branch": "BaseBranchOperator",
        "operators.datetime": "BranchDateTimeOperator",
        "operators.empty": "EmptyOperator",
        "operators.hitl": "HITLOperator ApprovalOperator HITLBranchOperator HITLEntryOperator",
        "operators.latest_only": "LatestOnlyOperator",
        "operators.python": "PythonOperator BranchPythonOperator ShortCircuitOperator PythonVirtualenvOperator "
        "BranchPythonVirtualenvOperator ExternalPythonOperator BranchExternalPythonOperator",
        "operators.smooth": "SmoothOperator",
        "operators.trigger_dagrun": "TriggerDagRunOperator",
        "operators.weekday": "BranchDayOfWeekOperator",
        "sensors.bash": "BashSensor",
        "sensors.date_time": "DateTimeSensor DateTimeSensorAsync",
        "sensors.external_task": "ExternalTaskSensor ExternalTaskMarker",
        "sensors.filesystem": "FileSensor",
        "sensors.python": "PythonSensor",
        "sensors.time": "TimeSensor TimeSensorAsync",
        "sensors.time_delta": "TimeDeltaSensor TimeDeltaSensorAsync WaitSensor",
        "sensors.weekday": "DayOfWeekSensor",
    }.items()
    for name in names.split()
}
"""Operators and sensors of the standard provider, which need no more than their class names."""

_NO_OBJECTS = (
    "airflow.sdk.definitions.callback.*",
    "airflow.sdk.execution_time.*",
)
"""What is no object to be given to a step: classes that run things, or import what they are given by name."""
_WILD = re.compile(r"[*?\[]")
_TWO_LEVELS = frozenset(("apache", "atlassian", "cncf", "common", "dbt", "ibm", "microsoft"))
"""First parts of provider packages whose distributions are named by two parts."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME = 300
_EXAMPLES: dict[Use, str] = {
    "operator": "BashOperator, or airflow.providers.http.operators.http.HttpOperator",
    "callable": "include.flows.tasks:clean",
    "object": "kubernetes.client.models.V1Pod",
    "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
    "timetable": "airflow.sdk.CronTriggerTimetable",
    "trigger": "airflow.providers.standard.triggers.file.FileDeleteTrigger",
}


def full_name(name: str, use: Use) -> str:
    """The dotted name that a spec's name stands for: an operator of the standard provider needs only its class."""
    return STANDARD.get(name, name) if use == "operator" else name


def split_name(name: str) -> tuple[str, str]:
    """Module and class or function of a full name."""
    module, _, member = name.partition(":") if ":" in name else name.rpartition(".")
    return module, member


def why_not(name: str, use: Use) -> Problem | None:
    """Why a spec may not name this class or function; ``None`` if it may.

    What lies in the project's own ``include`` is judged by its name alone: whether it is there, `signatures` says.
    """
    return refused(name, use) or missing(name, use)


def refused(name: str, use: Use) -> Problem | None:
    """Why a name is refused for how it is written: no name at all, or none that is allowed. Reads no module."""
    wrong = _misspelt(name, use)
    if wrong is not None:
        return wrong
    full = full_name(name, use)
    if "." not in full and use != "callable":
        return _unqualified(full, use)
    if not _listed(full, use):
        return _not_listed(full, use)
    if full.startswith(f"{PROVIDERS}.") and "example_dags" in full.split("."):
        return f'"{full}" is of an example, which makes DAGs when it is imported', f"e.g. {_EXAMPLES[use]}"
    if full.startswith(f"{PROVIDERS}.") and installed(full) is None:
        wanted = distribution(full)
        near = suggest(full.split(".")[2], submodules(PROVIDERS))
        hint = f'did you mean "{PROVIDERS}.{near}"?' if near else f"install it (pip install {wanted}), on workers too"
        return f'"{full}" is of a provider that is not installed: {wanted}', hint
    return None


def missing(name: str, use: Use) -> Problem | None:
    """Why there is no such class: its module or itself is not there, or is only imported there from elsewhere.

    For names that are not ``refused``. What is in ``include``, or in compiled modules, is not looked at.
    """
    full = full_name(name, use)
    module, member = split_name(full)
    if module.partition(".")[0] == PROJECT_PACKAGE or is_compiled(module) or module in _BUILT_IN:
        return None
    if module_file(module) is None:
        return _no_module(module, member, use)
    try:
        read = read_module(module)
        found = origin(module, member)
    except (SyntaxError, ValueError, OSError) as e:
        return f'"{module}" cannot be read: {type(e).__name__}', "reinstall its distribution"
    if read is not None and not found.found and found.module == module:
        near = suggest(member, [*read.classes, *sorted(read.exported)])
        near = f"{module}.{near}" if near else next(_searched(member, module), None)
        hint = f'did you mean "{near}"?' if near else f"it defines: {', '.join(read.classes[:8]) or 'none'}"
        return f'"{module}" has no class "{member}"', hint
    return elsewhere(full, use, found.module, found.name)


def elsewhere(name: str, use: Use, module: str, member: str) -> Problem | None:
    """Why a name must not be used for what another module defines; ``None`` if that module may be named too."""
    real = f"{module}.{member}" if member else module
    if real == name.replace(":", ".") or _listed(real, use) or _listed_exactly(name):
        return None
    return f'"{name}" is "{real}", which a spec may not name', _allowed_hint(use)


def distribution(name: str) -> str:
    """The distribution that holds a provider's module: ``airflow.providers.amazon.aws…`` is of
    ``apache-airflow-providers-amazon``."""
    parts = name.split(".")[2:]
    count = 2 if parts[0] in _TWO_LEVELS and len(parts) > 1 else 1
    return "-".join(["apache-airflow-providers", *parts[:count]]).replace("_", "-")


@lru_cache(maxsize=256)
def installed(name: str) -> str | None:
    """The version of the provider distribution that holds a module; ``None`` if it is not installed."""
    try:
        return version(distribution(name))
    except PackageNotFoundError:
        return None


_BUILT_IN = frozenset(("datetime",))
"""Modules whose allowed classes are listed one by one."""


def _misspelt(name: str, use: Use) -> Problem | None:
    if not name or len(name) > _MAX_NAME:
        return "expected the name of a class or function", f"e.g. {_EXAMPLES[use]}"
    odd = next((char for char in name if not char.isascii()), None)
    if odd is not None:
        called = unicodedata.name(odd, "a character without a name")
        message = f'"{printable(name)[:80]}" holds "{printable(odd)}" ({called}): names are written in ASCII'
        plain = unicodedata.normalize("NFKC", name)
        return message, f'did you mean "{plain}"?' if plain.isascii() else "type it again by hand"
    shown = printable(name)
    parts = re.split("[.:]", name) if use == "callable" else name.split(".")
    if use != "callable" and ":" in name:
        return f'"{shown}": a class is named with a dot', f"e.g. {name.replace(':', '.')}"
    if not all(_NAME.fullmatch(part) for part in parts):
        return f'"{shown}" is no name of a {"function" if use == "callable" else "class"}', f"e.g. {_EXAMPLES[use]}"
    inside = next((part for part in parts if part.startswith("__")), None)
    if inside is not None:
        return f'"{shown}" reaches for "{inside}", which is Python\'s own', f"e.g. {_EXAMPLES[use]}"
    if use == "callable" and name.count(":") != 1:
        return f'"{shown}" does not say which function of which module', f"e.g. {_EXAMPLES[use]}"
    return None


def _unqualified(name: str, use: Use) -> Problem:
    message = f'"{name}" does not say which module it is of'
    if use == "operator":
        near = suggest(name, STANDARD)
        if near:
            return f'there is no operator "{name}" in the standard provider', f'did you mean "{near}"?'
        found = next(_searched(name), None)
        if found:
            return message, f'did you mean "{found}"?'
    return message, f"e.g. {_EXAMPLES[use]}"


def _not_listed(name: str, use: Use) -> Problem:
    module, member = split_name(name)
    if use == "object" and f"kubernetes.client.models.{member}" == name.replace("client.", "client.models.", 1):
        return f'"{name}" may not be named in a spec', f'did you mean "kubernetes.client.models.{member}"?'
    top = module.partition(".")[0]
    if suggest(top, [PROJECT_PACKAGE]):
        return f'"{name}" may not be named in a spec', f'did you mean "{PROJECT_PACKAGE}{name[len(top) :]}"?'
    if use == "operator" and member in STANDARD:
        return f'"{name}" may not be named in a spec', f'did you mean "{member}"?'
    near = suggest(".".join(name.split(".")[:2]), [PROVIDERS]) if use != "callable" else None
    if near:
        rest = ".".join(name.split(".")[2:])
        return f'"{name}" may not be named in a spec', f'did you mean "{PROVIDERS}.{rest}"?'
    return f'"{name}" may not be named in a spec', _allowed_hint(use)


def _allowed_hint(use: Use) -> str:
    listed = ", ".join([*DEFAULT[use], *_added()])
    wide = [pattern for pattern in settings.allow() if _WILD.search(pattern.partition(".")[0])]
    if wide:
        return (
            f'allowed: {listed}; "{printable(wide[0])[:60]}" in the setting `allow` names no package, and adds nothing'
        )
    return f"allowed: {listed}; the setting `allow` in [tidemill] adds names"


def _listed(name: str, use: Use) -> bool:
    plain = name.replace(":", ".")
    if any(fnmatchcase(plain, pattern) for pattern in _added()):
        return True
    return _matches(plain, DEFAULT[use]) and not (use == "object" and _matches(plain, _NO_OBJECTS))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _added() -> list[str]:
    """What the setting adds. A glob that does not say of which package allows everything, `subprocess` included, and
    counts for nothing."""
    plain = [pattern.replace(":", ".") for pattern in settings.allow()]
    return [pattern for pattern in plain if not _WILD.search(pattern.partition(".")[0])]


def _listed_exactly(name: str) -> bool:
    plain = name.replace(":", ".")
    return any(plain == pattern.replace(":", ".") for pattern in settings.allow())


def _no_module(module: str, member: str, use: Use) -> Problem:
    """A module that is not there: up to which part it is, and what stands beside."""
    parts = module.split(".")
    known = 0
    while known < len(parts) and (known == 0 or parts[known] in submodules(".".join(parts[:known]))):
        known += 1
    known = max(known, 1)
    package = ".".join(parts[:known])
    message = f'there is no module "{module}"'
    if known == len(parts):  # a package without a file of its own
        found = next(_searched(member, package), None)
        return message, f'did you mean "{found}"?' if found else f"it would be in {package}"
    beside = submodules(package)
    near = suggest(parts[known], beside)
    if near:
        return message, f'did you mean "{".".join([package, near, *parts[known + 1 :], member])}"?'
    found = next(_searched(member, package), None) if len(parts) > 2 else None
    if found:
        return message, f'did you mean "{found}"?'
    if not beside:
        return message, f'install the distribution that holds "{parts[0]}"'
    return message, f"{package} holds: {', '.join(sorted(beside)[:8])}"


def _searched(name: str, package: str = PROVIDERS) -> Iterator[str]:
    """Full names of installed operators and sensors of a class name: for a hint, when an error is certain."""
    definition = re.compile(rf"^class {re.escape(name)}\b".encode(), re.MULTILINE)
    for folder in _folders(package):
        for file in sorted(folder.rglob("*.py")):
            parts = (*package.split("."), *file.relative_to(folder).with_suffix("").parts)
            if ("operators" in parts or "sensors" in parts) and definition.search(file.read_bytes()):
                yield ".".join([*parts, name])


def _folders(package: str) -> list[Path]:
    top = module_file("airflow")
    if top is None or not package.startswith("airflow"):
        return []
    folder = top.parent.joinpath(*package.split(".")[1:])
    return [folder] if folder.is_dir() else []
