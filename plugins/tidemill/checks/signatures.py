"""The signatures of what a spec names, without importing any of it here.

The project's own code is read from its files. Classes of providers are looked at in one process of their own for all
that are not known yet (`tidemill.airflow.signatures`), and kept per version in the project's state folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tidemill import __version__, settings
from tidemill.checks import reflect
from tidemill.checks.allowed import Use, elsewhere, full_name, installed, missing, refused, split_name
from tidemill.checks.code import module_file, read_module
from tidemill.checks.parameters import Parameter, Signature, SignatureProblem
from tidemill.checks.written import bases_outside, class_signature, function_signature, is_written
from tidemill.entries import read_entry, write_entry
from tidemill.project import Project

Wanted = tuple[str, Use]
Answer = Signature | SignatureProblem

_TIME_LIMIT = 120.0
"""Seconds for one process that looks at classes; the slowest provider module takes about ten to import."""
_SHOWN = 400
"""Characters of a failed import's last words that are shown."""
_NEEDED: dict[Use, str] = {"notifier": "notifier", "timetable": "timetable", "trigger": "trigger"}
_INTEGER = {"type": "integer"}
_NUMBER = {"type": "number"}
_DATETIME: dict[str, list[Parameter]] = {
    "timedelta": [
        Parameter(name, _NUMBER)
        for name in ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
    ],
    "date": [Parameter(name, _INTEGER, required=True) for name in ("year", "month", "day")],
    "time": [Parameter(name, _INTEGER) for name in ("hour", "minute", "second", "microsecond")],
}
_DATETIME["datetime"] = [*_DATETIME["date"], *_DATETIME["time"]]


class _Real:
    """A class's signature as it was extracted, with the module and name under which the class is defined."""

    def __init__(self, signature: Signature, module: str, name: str) -> None:
        self.signature = signature
        self.module = module
        self.name = name


def signatures(wanted: Iterable[Wanted], project: Project) -> dict[Wanted, Answer]:
    """What each named class or function takes, or what is wrong with the name: by the name and its use."""
    found: dict[Wanted, Answer] = {}
    outside: set[str] = set()
    classes: list[Wanted] = []
    for name, use in dict.fromkeys(wanted):
        answer = _without_looking(name, use, project)
        if answer is not None:
            found[name, use] = answer
            continue
        classes.append((name, use))
        full = full_name(name, use)
        outside |= set(filter(_may_be_base, bases_outside(full, use, project.root))) if is_written(full) else {full}
    extracted = _extracted(outside, project)
    for name, use in classes:
        found[name, use] = _judged(name, use, extracted, project)
    return found


def files_of(name: str, use: Use, project: Project) -> list[Path]:
    """The files that decide what a name stands for: when one of them changes, its signature may.

    The project's own module with all that it imports of the project, or a provider's module.
    """
    waiting = [split_name(full_name(name, use))[0]]
    found: dict[Path, None] = {}
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        file = module_file(module, project.root)
        if file is None and is_written(module) and not seen:
            file = project.root.joinpath(*module.split(".")).with_suffix(".py")  # it may come to be
        if module in seen or file is None:
            continue
        seen.add(module)
        found[file] = None
        if is_written(module):
            waiting += _imports(module, project.root)
    return [*found]


def _imports(module: str, root: Path) -> list[str]:
    """The modules of the project that one of its modules imports."""
    try:
        read = read_module(module, root)
    except (SyntaxError, ValueError, OSError):
        return []
    if read is None:
        return []
    names = [part for source, name in read.imported.values() for part in (source, f"{source}.{name}")]
    return [name for name in (*names, *read.stars) if is_written(name)]


def _without_looking(name: str, use: Use, project: Project) -> Answer | None:
    """What can be told of a name without looking at a provider's class."""
    wrong = refused(name, use)
    if wrong is None and use != "callable" and not is_written(name):
        full = full_name(name, use)
        module, member = split_name(full)
        if module == "datetime":
            return Signature(full, parameters=tuple(_DATETIME[member]))
        if _known(full, project) is None:
            wrong = missing(name, use)
    if wrong is not None:
        return SignatureProblem(*wrong)
    return function_signature(name, project.root) if use == "callable" else None


def _judged(name: str, use: Use, extracted: dict[str, _Real | SignatureProblem], project: Project) -> Answer:
    full = full_name(name, use)
    if is_written(full):

        def base_of(base: str) -> Answer:
            known = extracted.get(base)
            return known.signature if isinstance(known, _Real) else SignatureProblem(f'"{base}" is not known')

        answer = class_signature(full, use, project.root, base_of)
    else:
        real = extracted[full]
        if isinstance(real, SignatureProblem):
            return real
        wrong = elsewhere(full, use, real.module, real.name)
        answer = SignatureProblem(*wrong) if wrong is not None else real.signature
    return answer if isinstance(answer, SignatureProblem) else _of_kind(answer, use)


def _of_kind(signature: Signature, use: Use) -> Answer:
    """The signature, if the class is of the kind that its place asks for."""
    if "unknown" in signature.kinds:  # a base cannot be seen: Airflow will say
        return signature
    if use == "operator" and "operator" not in signature.kinds:
        return SignatureProblem(f'"{signature.name}" is no operator', _instead(signature))
    if use == "object" and "operator" in signature.kinds:
        return SignatureProblem(f'"{signature.name}" is an operator', "write it as a step of its own")
    needed = _NEEDED.get(use)
    if needed is not None and needed not in signature.kinds:
        return SignatureProblem(f'"{signature.name}" is no {needed}', _instead(signature))
    return signature


def _instead(signature: Signature) -> str:
    for kind in ("operator", "notifier", "timetable", "trigger"):
        if kind in signature.kinds:
            return f"it is {'an' if kind == 'operator' else 'a'} {kind}"
    return "name a class that is derived from Airflow's"


def _may_be_base(name: str) -> bool:
    """Whether a base class of the project's own class is looked at: it is Airflow's, or may be named itself."""
    module = split_name(name)[0]
    if name.startswith("airflow.providers."):
        return refused(name, "operator") is None and missing(name, "operator") is None
    if name.startswith("airflow."):
        return module_file(module) is not None
    return refused(name, "object") is None and missing(name, "object") is None


def _extracted(names: Collection[str], project: Project) -> dict[str, _Real | SignatureProblem]:
    found: dict[str, _Real | SignatureProblem] = {}
    for name in sorted(names):
        known = _known(name, project)
        if known is not None:
            found[name] = known
    rest = [name for name in sorted(names) if name not in found]
    while rest:
        answers = _looked_at(rest)
        for name, answer in answers.items():
            found[name] = answer
            if isinstance(answer, _Real):
                _keep(name, answer, project)
                _remember(name, answer)
        rest = [name for name in rest if name not in answers]
    return found


def _known(name: str, project: Project) -> _Real | None:
    """What this process, the state folder, or an import that has happened already knows of a class."""
    known = _remembered.get(name)
    if known is not None and known[1] == _state(known[0]):
        return known[2]
    real = _kept(name, project)
    if real is None:
        real = _imported(name)
        if real is not None:
            _keep(name, real, project)
    if real is not None:
        _remember(name, real)
    return real


_remembered: dict[str, tuple[str | None, tuple[int, int] | None, _Real]] = {}
"""Signatures by name, with the file of the class's module and its state: thousands of specs name the same few."""


def _remember(name: str, real: _Real) -> None:
    file = module_file(split_name(name)[0])
    path = str(file) if file is not None else None
    _remembered[name] = path, _state(path), real


def _state(path: str | None) -> tuple[int, int] | None:
    try:
        stat = os.stat(path) if path is not None else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size) if stat is not None else None


def _imported(name: str) -> _Real | None:
    """The signature of a class that this process has imported already, as Airflow's own processes have."""
    module, member = split_name(name)
    if "airflow" not in sys.modules or module not in sys.modules:
        return None
    cls = vars(sys.modules[module]).get(member)
    if not isinstance(cls, type):
        return None
    return _Real(reflect.signature_of(cls, name), cls.__module__, cls.__qualname__)


def _looked_at(names: list[str]) -> dict[str, _Real | SignatureProblem]:
    """The answers of one process. If it dies, the first class without an answer is to blame; those behind it are
    for the next process."""
    with tempfile.TemporaryDirectory(prefix="tidemill-signatures-") as home:
        return _looked_at_from(home, names)


def _looked_at_from(home: str, names: list[str]) -> dict[str, _Real | SignatureProblem]:
    import tidemill

    paths = [str(Path(tidemill.__file__).parent.parent), *filter(None, sys.path)]
    # An Airflow of its own: that of the process that asks may be one in which no database can be named, as the
    # dag-processor's children are.
    environment = {name: value for name, value in os.environ.items() if "AIRFLOW_" not in name}
    environment |= {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TIDEMILL__ALLOW": settings.setting("allow"),
    }
    # -P: what lies in the working directory is not taken for a module.
    command = [sys.executable, "-P", "-W", "ignore", "-m", "tidemill.airflow.signatures", *names]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        done = subprocess.run(command, env=environment, timeout=_TIME_LIMIT, check=False, **options)
        output, why = done.stdout, f"its import ended the process ({done.returncode}){_last_words(done.stderr)}"
    except subprocess.TimeoutExpired as e:
        output, why = e.stdout or b"", f"its import takes more than {_TIME_LIMIT:.0f} s"
    except OSError as e:
        output, why = b"", f"no process could be started: {e}"
    answers: dict[str, _Real | SignatureProblem] = {}
    for line in output.splitlines():
        try:
            value = json.loads(line)
            answers[value["name"]] = _real(value) if "signature" in value else SignatureProblem(*value["problem"])
        except (ValueError, KeyError, TypeError):
            break
    culprit = next((name for name in names if name not in answers), None)
    if culprit is not None:
        answers[culprit] = SignatureProblem(
            f'"{culprit}" cannot be imported: {why}', "try it in Python on this machine"
        )
    return answers


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][-_SHOWN:]}" if lines else ""


def _real(value: dict[str, Any]) -> _Real:
    return _Real(Signature.from_json(value["signature"]), *value["real"])


def _kept(name: str, project: Project) -> _Real | None:
    data = read_entry(_entry(name, project))
    if data is None:
        return None
    try:
        value = json.loads(data)
        return _real(value) if value["of"] == [name, *_versions(name)] else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _keep(name: str, real: _Real, project: Project) -> None:
    value = {"of": [name, *_versions(name)], "signature": real.signature.to_json(), "real": [real.module, real.name]}
    write_entry(_entry(name, project), json.dumps(value).encode())


def _entry(name: str, project: Project) -> str:
    key = hashlib.sha256(name.encode()).hexdigest()
    return str(project.state / "cache" / "signatures" / f"{key}.json")


def _versions(name: str) -> list[str]:
    """What a class's signature depends on: its distribution and file, Airflow, Python and Tidemill."""
    module = split_name(name)[0]
    file = module_file(module)
    state = _state(str(file) if file is not None else None)
    own = installed(name) if module.startswith("airflow.providers.") else _version(module.partition(".")[0])
    return [own or "none", str(state), _installation()]


@cache
def _installation() -> str:
    # Tidemill's own files count by their times: a checkout changes without its version changing.
    here = Path(__file__).parent
    newest = max(here.joinpath(name).stat().st_mtime_ns for name in ("parameters.py", "reflect.py", "annotations.py"))
    return f"{__version__} {newest} {_version('apache-airflow-core')} {sys.version_info[:3]}"


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


class Lookup:
    """What names stand for, looked at once. `prepare` asks for many at once, which is one process instead of many.

    ``here``: classes are imported in this process, which is about to use them.
    """

    def __init__(self, project: Project, *, here: bool = False) -> None:
        self._project = project
        self._here = here
        self._found: dict[Wanted, Answer] = {}

    def prepare(self, wanted: Iterable[Wanted]) -> None:
        """Look at all of these that are not known yet."""
        new = [one for one in dict.fromkeys(wanted) if one not in self._found]
        if self._here:
            for name, use in new:
                if use != "callable" and refused(name, use) is None and missing(name, use) is None:
                    with suppress(ImportError):  # told of below, with its name
                        import_module(split_name(full_name(name, use))[0])
        if new:
            self._found.update(signatures(new, self._project))

    def __call__(self, name: str, use: Use) -> Answer:
        """The signature of a name, or what is wrong with it."""
        self.prepare([(name, use)])
        return self._found[name, use]
