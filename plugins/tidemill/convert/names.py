"""Names of classes and functions: Airflow 2's places of them as Airflow 3's, and files as modules."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final, get_args

from tidemill.checks.allowed import STANDARD, Use, refused, split_name
from tidemill.checks.code import PROJECT_PACKAGE
from tidemill.convert.model import Conversion, Item
from tidemill.spec.steps import Decorator

_HTTP: Final = "airflow.providers.http"
_SQL: Final = "airflow.providers.common.sql"
_POD: Final = "airflow.providers.cncf.kubernetes"
_MOVED: Final[dict[str, str]] = {
    "EmailOperator": "airflow.providers.smtp.operators.smtp.EmailOperator",
    "HttpSensor": f"{_HTTP}.sensors.http.HttpSensor",
    "SimpleHttpOperator": f"{_HTTP}.operators.http.HttpOperator",
    "HttpOperator": f"{_HTTP}.operators.http.HttpOperator",
    "GenericTransfer": f"{_SQL}.operators.generic_transfer.GenericTransfer",
    "SqlSensor": f"{_SQL}.sensors.sql.SqlSensor",
    **{
        name: f"{_SQL}.operators.sql.{name}"
        for name in (
            "BranchSQLOperator",
            "SQLCheckOperator",
            "SQLColumnCheckOperator",
            "SQLExecuteQueryOperator",
            "SQLIntervalCheckOperator",
            "SQLTableCheckOperator",
            "SQLThresholdCheckOperator",
            "SQLValueCheckOperator",
        )
    },
    "KubernetesPodOperator": f"{_POD}.operators.pod.KubernetesPodOperator",
    **STANDARD,
    "DummyOperator": STANDARD["EmptyOperator"],
}
"""Where operators and sensors stand now that Airflow 2 had in its own modules."""
_OLD_MODULES: Final = re.compile(r"airflow\.(contrib\.)?(operators|sensors)\.")
_RENAMED: Final = {
    f"{_HTTP}.operators.http.SimpleHttpOperator": f"{_HTTP}.operators.http.HttpOperator",
    f"{_POD}.operators.kubernetes_pod.KubernetesPodOperator": f"{_POD}.operators.pod.KubernetesPodOperator",
}
_OBJECTS: Final = {
    "airflow.io.path.ObjectStoragePath": "airflow.sdk.ObjectStoragePath",
    "airflow.models.param.Param": "airflow.sdk.Param",
    "airflow.models.Param": "airflow.sdk.Param",
    "airflow.datasets.Dataset": "airflow.sdk.Asset",
    "airflow.datasets.DatasetAlias": "airflow.sdk.AssetAlias",
    "airflow.kubernetes.secret.Secret": f"{_POD}.secret.Secret",
}
_MODELS: Final = re.compile(r"kubernetes\.client\.(?:models\.\w+\.)?(V1\w+)")
_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_PYTHONS_OWN: Final = sys.stdlib_module_names - {"datetime"}


def operator_name(written: str) -> str:
    """The class of an operator, as a spec writes it."""
    name = _RENAMED.get(written, written)
    short = name.rpartition(".")[2]
    if _OLD_MODULES.match(name):
        name = _MOVED.get(short, name)
    short = name.rpartition(".")[2]
    return short if STANDARD.get(short) == name else name


def object_name(written: str) -> str:
    """The class of an object, as a spec writes it."""
    found = _MODELS.fullmatch(written)
    return f"kubernetes.client.models.{found[1]}" if found else _OBJECTS.get(written, written)


def decorator_name(written: str) -> str | None:
    """The language's decorator for a path of Airflow's; ``None`` if it has none."""
    last = written.rpartition(".")[2]
    known = get_args(Decorator)
    if last == "task":
        return "python"
    plain = last.removesuffix("_task")
    if plain in known and (last != plain or ".task." in f".{written}"):
        return str(plain)
    return None


def permitted(name: str, use: Use, item: Item, path: str, conversion: Conversion) -> None:
    """Note what a name needs to be used in a spec."""
    if refused(name, use) is None:
        return
    module = split_name(name)[0]
    if module.partition(".")[0] in _PYTHONS_OWN:
        message = f'"{name}" is of Python\'s own library, which no spec should name'
        conversion.lost(item, path, message, "write a function of your own below include/ that does what is needed")
    elif "." in name.replace(":", ".") and not name.startswith(("airflow.providers.", f"{PROJECT_PACKAGE}.")):
        conversion.allow[name] = None


def function_name(item: Item, path: str, conversion: Conversion) -> str:
    """``module:function`` for a dotted name."""
    written = item.text
    module, _, name = written.rpartition(".")
    if ":" in written or not module:
        found = written
    else:
        found = f"{module}:{name}"
    permitted(found, "callable", item, path, conversion)
    return found


def function_in_file(file: Item, name: Item, path: str, conversion: Conversion) -> str:
    """``module:function`` for a function's name and the path of its file."""
    place = expanded(file.text)
    found = None
    if not _VARIABLE.search(place):
        resolved = Path(os.path.normpath(conversion.folder / place))
        root, home = conversion.project.root, conversion.home
        package = root / PROJECT_PACKAGE
        for below, base in ((package, root), (home / PROJECT_PACKAGE, home), (home, home), (root, root)):
            if resolved.suffix == ".py" and resolved.is_relative_to(below):
                found = ".".join(resolved.relative_to(base).with_suffix("").parts)
                break
    if found is None:
        found = Path(place).stem
        message = f"{file.text} is not in the project as far as can be seen; the spec names the module {found}"
        conversion.lost(file, path, message, f"move the file below include/, and write include.{found}:{name.text}")
    full = f"{found}:{name.text}"
    permitted(full, "callable", file, path, conversion)
    return full


def expanded(text: str) -> str:
    """A path with the environment's variables put in, as dag-factory does."""
    return os.path.expandvars(text)


def variables(text: str) -> list[str]:
    """The names of environment variables that a text asks for."""
    return list(dict.fromkeys(found[1] or found[2] for found in _VARIABLE.finditer(text)))


def is_class(name: str) -> bool:
    """Whether a dotted name is that of a class, by its definition if that can be read, else by how it is written."""
    from tidemill.checks.code import origin

    module, member = split_name(name)
    try:
        found = origin(module, member)
    except (SyntaxError, ValueError, OSError):
        found = None
    if found is not None and found.node is not None:
        return type(found.node).__name__ == "ClassDef"
    return member[:1].isupper() or (module.startswith("airflow.providers.") and ".notifications." in f"{module}.")
