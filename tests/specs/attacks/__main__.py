"""Every attack of the corpus against the real reader: ``python -m tests.specs.attacks``.

Stored ones (``NAME.yaml``, with the whole expected answer in ``NAME.txt``), those too large to be stored, links, broken
caches, and a template that leaves the sandbox in every single value of the two specs that have every key. Each is
judged in a process of its own that shows what it opens, imports and starts; it must be refused at a line of its file,
within a second and 200 MB, and nothing of it may have run. ``--write`` writes the expected answers anew.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tests import fuzz
from tidemill.project import Project
from tidemill.spec.document import Path as Keys
from tidemill.spec.errors import SpecErrors
from tidemill.spec.reader import read
from tidemill.verdict import Verdict, judge

HERE = Path(__file__).parent
SECONDS, MEGABYTES = 1.0, 200
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
SHOWN = {"description", "doc_md", "tooltip", "params", "executor_config"}
"""Keys whose values Airflow shows or hands on, and never renders; tests/airflow/test_sandbox.py proves it."""
_STEPS = "tidemill: 1\nsteps:\n"
_STEP = "{operator: BashOperator, with: {bash_command: x}}"


@dataclass(frozen=True)
class Attack:
    """A spec's content, or what makes the file; ``text``: the whole expected answer, where it is known."""

    name: str
    content: bytes = b""
    text: str | None = None
    make: Callable[[Path, Path], Path] | None = None
    line: int | None = None
    says: str = ""
    harmless: bool = False
    """Accepted, or not looked at, without anything having happened."""
    environment: tuple[tuple[str, str], ...] = ()


def stored() -> Iterator[Attack]:
    """The files of this folder."""
    for file in sorted(HERE.glob("*.yaml")):
        answer = file.with_suffix(".txt")
        yield Attack(file.stem, file.read_bytes(), answer.read_text(encoding="utf-8") if answer.exists() else None)


def generated(*, short: bool = False) -> Iterator[Attack]:
    """What is too large to be stored, or no text."""
    many = range(20_000)
    texts: dict[str, Any] = {
        "nested_lists": "[" * 1_000_000,
        "nested_mappings": "tidemill: 1\na: " + "{a: " * 250_000,
        "nested_dashes": "- " * 500_000,
        "nested_keys": "? " * 500_000,
        "scalar_100_mb": lambda: "tidemill: 1\na: " + "x" * 100_000_000,
        "scalar_1_mb": "tidemill: 1\na: " + "x" * 1_000_000,
        "anchor_1_mb": "tidemill: 1\na: &" + "a" * 1_000_000 + " 1\n",
        "a_million_keys": lambda: "tidemill: 1\n" + "".join(f"k{n}: 1\n" for n in range(1_000_000)),
        "unknown_keys": "tidemill: 1\n" + "".join(f"k{n}: 1\n" for n in many),
        "unknown_settings": _STEPS
        + "  a:\n    operator: BashOperator\n"
        + "".join(f"    retries{n}: 1\n" for n in many),
        "unknown_steps": _STEPS + "".join(f"  s{n}: {_STEP[:-1]}, after: n{n}}}\n" for n in range(2_000)),
        "unknown_variables": _STEPS + "".join(f"  s{n}: {{operator: '${{vars.v{n}}}'}}\n" for n in range(3_000)),
        "unknown_modules": _STEPS + "".join(f"  s{n}: {{operator: include.m{n}.C}}\n" for n in range(3_000)),
        "wrong_steps": _STEPS + "".join(f"  s{n}: 1\n" for n in many),
        "rows_10001": "tidemill: 1\nmatrix:\n"
        + "".join(f"  r{n}: {{}}\n" for n in range(10_001))
        + _STEPS[12:]
        + "  a: "
        + _STEP,
        "rows_all_wrong": "tidemill: 1\nmatrix:\n"
        + "".join(f"  r{n}: {{}}\n" for n in range(9_000))
        + "steps: {a: {operator: '${row.x}'}}",
        "variables_that_grow": "tidemill: 1\nvars: {a: {"
        + ", ".join(f"k{n}: 1" for n in range(2_000))
        + "}}\nsteps:\n"
        + "".join(f"  s{n}: {{python: \"include.canary:run\", with: {{x: '${{vars.a}}'}}}}\n" for n in range(200)),
        "template_parentheses": _STEPS
        + '  a: {operator: BashOperator, with: {bash_command: "{{ '
        + "(" * 60_000
        + '"}}',
        "template_attributes": _STEPS
        + '  a: {operator: BashOperator, with: {bash_command: "{{ steps'
        + ".a" * 30_000
        + ' }}"}}',
        "parameters": "tidemill: 1\nparams:\n"
        + "".join(f"  p{n}: {{type: string, default: a}}\n" for n in range(5_000))
        + f"steps: {{a: {_STEP}}}",
        "directives": "%YAML 1.2\n" * 100_000,
        "utf_16": None,
        "nul": "tidemill: 1\n\0",
    }
    for name, text in texts.items():
        if callable(text):
            if not short:
                yield Attack(f"large_{name}", text().encode())
            continue
        yield Attack(f"large_{name}", text.encode() if text else "tidemill: 1\n".encode("utf-16"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.yaml", b"tidemill: 1\n" * 1_000_000)
    yield Attack("zip_bomb", packed.getvalue())
    yield Attack("gzip_bomb", gzip.compress(b"tidemill: 1\n" * 1_000_000))
    wide = "*", "* *.*", "?*.*", "[a-z]*.*", "*.system"
    for number, allow in enumerate(wide):
        text = (
            _STEPS
            + '  a: {python: "include.canary:run", with: {x: {$object: subprocess.Popen, args: [touch canary]}}}\n'
        )
        yield Attack(f"allow_{number}", text.encode(), environment=(("AIRFLOW__TIDEMILL__ALLOW", allow),), line=3)


def linked() -> Iterator[Attack]:
    """Links out of the project, and files that are none."""

    def link(name: str, target: str, text: str) -> Callable[[Path, Path], Path]:
        def make(root: Path, outside: Path) -> Path:
            place = root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            (outside / target).parent.mkdir(parents=True, exist_ok=True)
            if not (outside / target).exists():
                (outside / target).write_text("tidemill: 1\nsecret: [1\n")
            place.symlink_to(outside / target)
            file = root / "dags" / "linked.yaml"
            if text:
                file.write_text(text)
            return file

        return make

    sound = f"tidemill: 1\nsteps: {{a: {_STEP}}}\n"
    code = 'tidemill: 1\nsteps:\n  a: {python: "include.linked:run"}\n'
    operator = "tidemill: 1\nsteps:\n  a: {operator: include.linked.Canary}\n"
    whole = (SPECS / "good" / "minimal.yaml").read_text()
    suite = whole.replace("data:\n", "data:\n  expect: include/linked.yaml\n", 1)
    yield Attack("link_spec", make=link("dags/linked.yaml", "secret.yaml", ""), line=1, says="link that leads out")
    yield Attack(
        "link_template",
        make=link("dags/templates/l.yaml", "secret.yaml", "tidemill: 1\nuses: templates/l.yaml\n"),
        line=2,
        says="link",
    )
    yield Attack(
        "link_defaults", make=link("dags/defaults.yaml", "secret.yaml", sound), line=1, says="link that leads out"
    )
    yield Attack("link_function", make=link("include/linked.py", "linked.py", code), line=3, says="link that leads out")
    yield Attack(
        "link_operator", make=link("include/linked.py", "linked.py", operator), line=3, says="link that leads out"
    )
    yield Attack("link_suite", make=link("include/linked.yaml", "secret.yaml", suite), says="leads out of the project")

    def sparse(root: Path, outside: Path) -> Path:
        file = root / "dags" / "sparse.yaml"
        with file.open("wb") as hole:
            hole.truncate(10 * 1024**3)
        return file

    yield Attack("file_of_10_gb", make=sparse, says="larger than")
    for name in ("a b", "a.b.c", "-é", "a" * 240, "ѕpec", "a\u202eb", "a\x1b[31m"):

        def called(root: Path, outside: Path, name: str = name) -> Path:
            file = root / "dags" / f"{name}.yaml"
            file.write_text(sound)
            return file

        yield Attack(f"stem_{name!r:.20}", make=called, line=1, says="cannot be a pipeline's id")


SPECS = HERE.parent
WHOLE = ("good/full.yaml", "good/aws.yaml", "good/kubernetes.yaml", "workflows/dags/workflow.yaml")


def fields() -> Iterator[Attack]:
    """The escape in every value of the specs that have every key of the language, and in every one of their keys'
    places for text."""
    import yaml

    for name in WHOLE:
        value = read((SPECS / name).read_bytes(), name).value
        for path in leaves(value):
            if path == ("tidemill",):
                continue
            changed = json.loads(json.dumps(value))
            at = changed
            for part in path[:-1]:
                at = at[part]
            at[path[-1]] = ESCAPE
            text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True, width=100_000)
            line = read(text.encode(), "x").mark(path)[0]
            shown = ".".join(map(str, path))
            yield Attack(f"field_{shown}", text.encode(), line=line, harmless=not SHOWN.isdisjoint(path))


def leaves(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """The places of a value's texts, numbers and switches."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from leaves(below, (*path, index))
    else:
        yield path


def caches() -> Iterator[Attack]:
    """Entries of the caches that somebody changed, digests included."""
    import hashlib

    def spoilt(data: bytes) -> Callable[[Path, Path], Path]:
        def make(root: Path, outside: Path) -> Path:
            for file in (root / ".tidemill" / "cache" / "signatures").glob("*.json"):
                file.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            file = root / "dags" / "cached.yaml"
            file.write_text('tidemill: 1\nsteps:\n  a: {operator: subprocess.Popen, with: {args: "touch canary"}}\n')
            return file

        return make

    lie = b'{"of": ["subprocess.Popen"], "signature": {"name": "x", "kinds": ["operator"]}, "real": ["a", "b"]}'
    for name, data in {
        "deep": b"[" * 1_000_000,
        "lie": lie,
        "types": b'{"of": 1}',
        "list": b"[]",
        "text": b'"x"',
    }.items():
        yield Attack(f"signatures_{name}", make=spoilt(data), line=3, says="may not be named")


class World:
    """A project to attack, and a folder beside it that nothing may lead to."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.outside.mkdir()
        (self.outside / "linked.py").write_text((HERE / "include" / "canary.py").read_text())
        inner = fuzz.World(folder / "project")
        self.project: Project = inner.project
        self.dags = inner.dags
        (self.dags / "defaults.yaml").unlink()
        for file in (HERE / "include").iterdir():
            if file.is_file():
                shutil.copy(file, self.project.root / "include" / file.name)
        for name in WHOLE:
            verdict = self.judge((SPECS / name).read_bytes())
            assert verdict.plans, SpecErrors(verdict.errors).render()

    def judge(self, content: bytes) -> Verdict:
        """The verdict on a spec's content."""
        return judge(self._written(content), self.dags, self.project)

    def _written(self, content: bytes) -> Path:
        file = self.dags / "attack.yaml"
        file.write_bytes(content)
        return file

    def tried(self, attack: Attack) -> dict[str, Any]:
        """What an attack came to, in a process of its own."""
        file = attack.make(self.project.root, self.outside) if attack.make else self._written(attack.content)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                told = self._judged(attack, file)
            except BaseException as e:  # noqa: BLE001 - shown as the escape that it is
                told = {"raised": f"{type(e).__name__}: {e}"}
            with os.fdopen(writing, "w") as sink:
                json.dump(told, sink)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as source:
            answer = source.read()
        os.waitpid(child, 0)
        if attack.make:
            shutil.rmtree(self.project.root / "include" / "__pycache__", ignore_errors=True)
            for place in (file, self.dags / "templates/l.yaml", self.dags / "defaults.yaml"):
                place.unlink(missing_ok=True)
        return json.loads(answer) if answer else {"raised": "the process died"}

    def _judged(self, attack: Attack, file: Path) -> dict[str, Any]:
        seen: list[str] = []
        root, outside = str(self.project.root), str(self.outside)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _STARTS and not _is_look(event, arguments):
                seen.append(f"{event} {arguments[:2]!r:.200}")
            elif event == "import" and str(arguments[0]).partition(".")[0] in ("include", "canary", "ctypes", "linked"):
                seen.append(f"import {arguments[0]}")
            elif event == "open" and isinstance(arguments[0], str):
                name, mode = arguments[0], arguments[1] or "r"
                if name.startswith((outside, "/etc/passwd", "/etc/shadow")) or (
                    "r" not in mode and not name.startswith((root, "/dev/null")) and "__pycache__" not in name
                ):
                    seen.append(f"open {name} {mode}")

        os.chdir(self.outside)
        os.environ.update(attack.environment)
        base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (base + MEGABYTES * 2**20, -1))
        sys.addaudithook(hook)
        held = _status("VmRSS")
        began = time.process_time()
        verdict = judge(file, self.dags, self.project)
        spent = time.process_time() - began
        return {
            "errors": [(error.line, error.column, error.message) for error in verdict.errors],
            "text": SpecErrors(verdict.errors).render() + "\n",
            "plans": len(verdict.plans),
            "seen": seen + [str(p) for p in self.outside.glob("canary*")],
            "seconds": spent,
            # The process that was forked may hold anything; one that validates holds this much before it begins.
            "megabytes": _status("VmHWM") - held + _HOLDS,
        }


_HOLDS = 80


def _status(name: str) -> float:
    """A figure of this process, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


def _is_look(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether it is the process that looks at the signatures of allow-listed classes of installed providers."""
    if event != "subprocess.Popen" or "tidemill.airflow.signatures" not in arguments[1]:
        return False
    command = list(arguments[1])
    names = command[command.index("tidemill.airflow.signatures") + 1 :]
    return bool(names) and all(name.startswith("airflow.providers.") for name in names)


def escaped(attack: Attack, told: dict[str, Any]) -> str | None:
    """How an attack got further than it may; ``None`` if it did not."""
    if "raised" in told:
        return str(told["raised"])
    if told["seen"]:
        return f"it ran or read: {told['seen']}"
    if told["seconds"] > SECONDS or told["megabytes"] > MEGABYTES:
        return f"{told['seconds']:.2f} s and {told['megabytes']:.0f} MB"
    if attack.harmless:
        return None
    if told["plans"] or not told["errors"]:
        return "it was accepted"
    if any("Tidemill failed" in message or line < 1 or column < 1 for line, column, message in told["errors"]):
        return f"no place, or a defect: {told['errors'][0]}"
    if attack.line is not None and attack.line not in [line for line, _, _ in told["errors"]]:
        return f"refused elsewhere than at line {attack.line}: {told['errors'][:2]}"
    if not any(attack.says in message for _, _, message in told["errors"]):
        return f"another reason: {told['errors'][:2]}"
    if attack.text is not None and told["text"] != attack.text:
        return f"another answer:\n{told['text']}"
    return None


def run(attacks: Iterable[Attack], report: Callable[[str], None], *, write: bool = False) -> dict[str, str]:
    """Try attacks; the escapes by name."""
    found: dict[str, str] = {}
    slowest, largest, count = 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder).resolve())
        for attack in attacks:
            count += 1
            told = world.tried(attack)
            if told.get("seconds", 0.0) > SECONDS:  # the better of two, where others keep the machine busy
                told = world.tried(attack)
            if write and "text" in told and (HERE / f"{attack.name}.yaml").exists():
                (HERE / f"{attack.name}.txt").write_text(told["text"], encoding="utf-8")
            elif (how := escaped(attack, told)) is not None:
                found[attack.name] = how
                report(f"ESCAPED {attack.name}: {how}")
            slowest = max(slowest, told.get("seconds", 0.0))
            largest = max(largest, told.get("megabytes", 0.0))
    report(f"{count} attacks, {len(found)} escapes; the slowest took {slowest:.2f} s, the largest {largest:.0f} MB")
    return found


def corpus(*, short: bool = False) -> Iterator[Attack]:
    """All attacks, one after the other, since the process of each begins with the memory of this one; with ``short``
    every tenth of those in single fields, and not the largest ones."""
    yield from stored()
    yield from islice(fields(), 0, None, 10 if short else 1)
    yield from linked()
    yield from caches()
    yield from generated(short=short)


def main() -> int:
    """Try all attacks; 1 if one escaped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="as in `make test`")
    parser.add_argument("--write", action="store_true", help="write the expected answers of the stored ones")
    given = parser.parse_args()
    attacks = stored() if given.write else corpus(short=given.short)
    return 1 if run(attacks, lambda text: print(text, flush=True), write=given.write) else 0


if __name__ == "__main__":
    sys.exit(main())
