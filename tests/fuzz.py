"""Structure-aware fuzzing of everything that reads a spec: ``python -m tests.fuzz --cases 100000``.

A case is a spec of the corpora, or one made of the models, after up to eight mutations: of its values (keys deleted,
added, renamed, moved, duplicated, values replaced by odd ones, by references, by templates) and of its text (broken
at the level of characters). What must hold of each: no exception, no second of work, and every error has a place
inside its file that can be drawn. Hypothesis minimises what fails; the spec is written to a file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.spec.errors import SpecError
from tidemill.spec.models import Spec, Workflow
from tidemill.spec.section import Section, keys_of
from tidemill.verdict import judge

SPECS = Path(__file__).parent / "specs"
LIMIT = 1.0
"""Seconds of work that one case may take."""
ROUND = 1_000
"""Cases between two lines of progress."""

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**63 - 1, -(2**63), 1.5, -0.0, 1e308, 5e-324,
    float("inf"), float("-inf"), float("nan"),
    "", " ", "null", "~", "yes", "1", "1.0", "0x1f", "1e3", ".inf", "2013-07-01", "2013-02-30", "9999-12-31", "25:00",
    "5 months", "0 s", "-1 d", "99999999999 w", "1 quarter", "4 per year", "30%", "101 %", "4 GiB", "daily", "@daily",
    "0 0 31 2 *", "*/0 * * * *", "60 * * * *", "H H * * *", "0 3 * * 1", "local", "aws", "dvc", "all_done", "always",
    "as_of", "promote", "data", "self", "BashOperator", "include.tasks:f", "include.tasks:nope",
    "include.tasks.Thing",
    "airflow.providers.standard.operators.bash.BashOperator", "os.system", "a" * 300, "é", "\u202e", "\x1b[31m",
    "ﬁ", "\U0001f600",
    "a: b", "- a", "# a", "*a", "&a", "!a", "{a", "[a", "a\nb", "a\tb", "%", "@", "`", "'", '"', "\\", "://",
    "s3://b/k",
    "include/sql", "../..", "/etc", "templates/t.yaml", [], [[]], [None], [1, "a"], {}, {"a": None}, {"a": {"a": {}}},
    {"$object": "datetime.timedelta", "with": {"days": 1}}, {"$function": "include.tasks:f"}, {"$output": ["a",
    None]},
    {"$each": "a"}, {"$timedelta": 1}, {"$object": 1}, {"$function": None}, {"default": 1, "type": "string"},
]  # fmt: skip
TEMPLATES = [
    "{{ steps.a }}", "{{ steps.a.b }}", "{{ steps['a'].b }}x", "{{ as_of }}", "{{ ds }}", "{{ each.x }}", "{{",
    "{%", "{#", "}}",
    "{{ ''.__class__ }}", "{% for x in y %}{{ x }}{% endfor %}", "{{ steps.a-b }}", "{{ x | attr('a' ~ 'b') }}",
    "{{ (((( }}",
    "{% raw %}{{{% endraw %}", "{{ steps }}", "{{ steps() }}", "{{ steps('a').b }}",
    "{{ params.x }}\r\n{{ steps.q }}", "{{ 1e999 }}",
]  # fmt: skip
REFERENCES = [
    "${vars.a}", "${vars.b}", "${vars.a.x}", "${vars.}", "${vars}", "$${vars.a}", "${row.id}", "${row.x}",
    "${with.p}", "${HOME}",
    "${ vars . a }", "x${vars.a}y", "${vars.c}", "${env.a}", "${vars.a.b.c}", "${", "${vars.${vars.a}}",
]  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {"vars": {"a": 1, "b": "x", "c": [1, 2], "d": {"x": "y"}}},
    {"matrix": {"n": {"x": 1}, "s": {"x": 2}}},
    {"matrix": {"n": {}}, "vars": {"a": "${row.id}"}},
    {"environments": {"prod": {"schedule": "daily", "vars": {"a": 2}}}},
    {"uses": "templates/t.yaml", "with": {"p": 1}},
    {"uses": "templates/u.yaml"},
    {"params": {"a": {"type": "string", "default": "x", "pattern": "(a+)+$"}, "b": [1]}},
    {"steps": {"a": {"operator": "BashOperator", "with": {"bash_command": "echo"}},
    "b": {"python": "include.tasks:f", "after": "a"}}},
    {"steps": {"g": {"for_each": {"x": [1, 2]}, "steps": {"a": {"python": "include.tasks:f",
    "with": {"x": "{{ each.x }}"}}}}}},
    {"defaults": {"retries": 2, "on_failure": {"callback": "include.tasks:f"}}},
    {"schedule": {"cron": ["0 1 * * *", "0 2 * * *"], "timezone": "Europe/Berlin", "assets": {"any": ["a",
    {"all": ["b"]}]}}},
]  # fmt: skip
CHUNKS = [
    "\t", "\r", "\n", " ", "  ", ":", ": ", "- ", "? ", "|", ">", "&a ", "*a", "<<: *a",
    "!!python/object:os.system ", "!", "'", '"', "{", "}", "[", "]",
    ",", "#", "---\n", "...\n", "%YAML 1.1\n", "\x00", "\x1b", "\u2028", "\x85", "\ufeff", "\U0001f600", "é",
    "\u202e", "\\", "\\x", "~", "${vars.a}", "{{ x", "\r\n", "null", "0o9",
]  # fmt: skip
GOOD = ("good", "workflows")
ALL = (*GOOD, "bad")
OPERATIONS = (
    "delete", "odd", "odd", "odd", "rename", "add", "move", "copy", "wrap", "template", "reference", "block", "block",
    "text_insert", "text_delete", "text_lines", "text_cut", "template_file", "twice",
)  # fmt: skip

Mutation = tuple[str, int, int, int]
_NUMBER = st.integers(0, 2**16)
CASES = st.tuples(
    _NUMBER, st.lists(st.tuples(st.sampled_from(OPERATIONS), _NUMBER, _NUMBER, _NUMBER), max_size=8), st.booleans()
)


@cache
def corpus(*folders: str) -> list[Any]:
    """Values of the specs of some corpora, of those that can be read."""
    found = []
    for file in sorted(file for name in folders for file in (SPECS / name).rglob("*.y*ml")):
        if file.stat().st_size < 20_000:
            try:
                value = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


@cache
def vocabulary() -> list[str]:
    """Every key of the language."""
    seen: dict[type[Section], None] = {}
    waiting: list[Any] = [Spec]
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen[model] = None
            waiting += [inner for field in keys_of(model).values() for inner in sections_in(field.rebuild_annotation())]
    return sorted(
        {key for model in seen for key in keys_of(model)} | {"vars", "uses", "with", "matrix", "environments"}
    )


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The sections that an annotation speaks of, those of deferred parts included."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        yield from sections_in(getattr(part, "annotation", part))


def made(model: type[Section], numbers: Iterator[int], depth: int = 0) -> dict[str, Any]:
    """A mapping of a model's keys, some of them, with examples, sections below, or odd values."""
    value: dict[str, Any] = {}
    for key, field in keys_of(model).items():
        if next(numbers) % 3 and not field.is_required():
            continue
        inner = list(sections_in(field.rebuild_annotation()))
        choice = next(numbers)
        if field.examples and choice % 4:
            value[key] = deepcopy(field.examples[choice % len(field.examples)])
        elif inner and depth < 4 and choice % 4 < 3:
            section = made(inner[choice % len(inner)], numbers, depth + 1)
            value[key] = {"a": section, "b": section} if key == "steps" else [section] if choice % 5 == 0 else section
        else:
            value[key] = ODD[choice % len(ODD)]
    if depth == 0:
        value["tidemill"] = 1
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value: what holds it, and its key or index there."""
    found = []
    waiting = [value]
    while waiting and len(found) < 2_000:
        at = waiting.pop()
        for key in list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ():
            found.append((at, key))
            waiting.append(at[key])
    return found


def _mutated(value: Any, mutation: Mutation) -> Any:
    operation, a, b, c = mutation
    places = _places(value)
    if operation == "block" or not places:
        return {**value, **deepcopy(BLOCKS[a % len(BLOCKS)])} if isinstance(value, dict) else value
    at, key = places[a % len(places)]
    match operation:
        case "delete":
            del at[key]
        case "odd":
            at[key] = deepcopy(ODD[b % len(ODD)])
        case "template":
            at[key] = TEMPLATES[b % len(TEMPLATES)]
        case "reference":
            at[key] = REFERENCES[b % len(REFERENCES)]
        case "rename" if isinstance(at, dict):
            name = str(key)
            new = [
                name[:-1],
                name + "x",
                name.upper(),
                name.replace("_", "-"),
                vocabulary()[c % len(vocabulary())],
                "",
                " ",
            ]
            at[new[b % len(new)]] = at.pop(key)
        case "add" if isinstance(at, dict):
            at[vocabulary()[b % len(vocabulary())]] = deepcopy(ODD[c % len(ODD)])
        case "add":
            at.append(deepcopy(ODD[c % len(ODD)]))
        case "move" | "copy":
            moved = deepcopy(at[key])
            if operation == "move":
                del at[key]
            there, place = (_places(value) or [(value, "a")])[b % max(1, len(_places(value)))]
            there[place] = moved
        case "wrap":
            at[key] = [at[key]] if b % 2 else {"a": at[key]}
    return value


def _broken(text: str, mutation: Mutation) -> str:
    operation, a, b, c = mutation
    at = a % (len(text) + 1)
    match operation:
        case "text_insert":
            return text[:at] + CHUNKS[b % len(CHUNKS)] * (1 + c % 3) + text[at:]
        case "text_delete":
            return text[:at] + text[at + 1 + b % 8 :]
        case "text_cut":
            return text[:at]
    lines = text.split("\n")
    one, other = a % len(lines), b % len(lines)
    if operation == "twice":
        lines.insert(other, lines[one])
    elif c % 3 == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif c % 3 == 1:
        lines[one] = " " * (c % 7) + lines[one]
    else:
        lines[one] = lines[one].lstrip()
    return "\n".join(lines)


def spec_of(case: tuple[int, list[Mutation], bool]) -> tuple[bytes, bytes]:
    """The text of a case's spec, and of the template beside it."""
    base, mutations, flow = case
    if base % 4 == 3:
        value: Any = made(Workflow if base % 8 == 3 else Spec, _numbers(base))
    else:
        known = corpus(*(GOOD if base % 4 else ALL))
        value = deepcopy(known[base // 4 % len(known)])
        if base % 4:
            mutations = mutations[: 1 + base % 3]
    template: Any = {"tidemill": 1, "parameters": {"p": {"type": "integer", "default": 1}}, "description": "${with.p}"}
    for mutation in mutations:
        if mutation[0] == "template_file":
            template = _mutated({**template, **value} if mutation[3] % 2 else template, ("odd", *mutation[1:]))
        elif not mutation[0].startswith("text") and mutation[0] != "twice":
            value = _mutated(value, mutation)
    text = _dumped(value, flow)
    for mutation in mutations:
        if mutation[0].startswith("text") or mutation[0] == "twice":
            text = _broken(text, mutation)
    return text.encode("utf-8", "surrogatepass"), _dumped(template, False).encode("utf-8", "surrogatepass")


def _dumped(value: Any, flow: bool) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(value, Dumper=dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=200)
    return text


def _numbers(start: int) -> Iterator[int]:
    while True:
        start = (start * 1_103_515_245 + 12_345) % 2**31
        yield start >> 8


class World:
    """A project in which every case is judged."""

    def __init__(self, root: Path, state: Path | None = None) -> None:
        self.dags = root / "dags"
        (self.dags / "templates").mkdir(parents=True)
        shutil.copytree(SPECS / "workflows" / "include", root / "include")
        (root / "include" / "tasks.py").write_text(
            (SPECS / "workflows" / "include" / "tasks.py").read_text()
            + "\n\ndef f(*args, **kwargs): ...\n\n\nclass Thing:\n    def __init__(self, a: int = 1): ...\n"
        )
        flights = root / "include" / "flights"
        flights.mkdir()
        (flights / "train.py").write_text("def train(context): ...\n")
        (flights / "expectations.yaml").write_text("expectations:\n- {type: expect_column_to_exist, column: id}\n")
        (root / "requirements.txt").write_text("polars\n")
        (root / "include" / "train.py").write_text("def train(context): ...\n")
        (self.dags / "defaults.yaml").write_text("owner: ops\nvars: {a: 1}\n")
        (self.dags / "templates" / "u.yaml").write_text("tidemill: 1\nparameters: {}\ndescription: used\n")
        self.project = Project(root, state or root / ".tidemill")
        self.file = self.dags / "spec.yaml"
        self.template = self.dags / "templates" / "t.yaml"
        self.template_text = b""

    def warm(self) -> None:
        """Look at every class that the corpora name once, so that no case waits for it."""
        for value in corpus(*ALL):
            self.verdict(_dumped(value, False).encode(), b"tidemill: 1\n")

    def verdict(self, text: bytes, template: bytes) -> Any:
        """The verdict on a spec's text."""
        if template != self.template_text:
            self.template.write_bytes(template)
            self.template_text = template
        if not text:
            self.file.write_bytes(b"")
        return judge(self.file, self.dags, self.project, text)


class Hang(Exception):
    """A case takes far longer than it may."""


def _alarm(*_: Any) -> None:
    raise Hang


def check(world: World, text: bytes, template: bytes) -> str:
    """Judge one case; ``sound`` or ``refused``.

    Raises AssertionError, or what was raised, if something does not hold.
    """
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, 30 * LIMIT)
    began = time.process_time()
    try:
        verdict = world.verdict(text, template)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    spent = time.process_time() - began
    assert spent < LIMIT, f"{spent:.2f} s"
    for error in verdict.errors:
        _check_error(error, world, text)
    for plan in verdict.plans:
        assert Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False))) == plan
    assert verdict.errors or verdict.plans
    return "refused" if verdict.errors else "sound"


def _check_error(error: SpecError, world: World, text: bytes) -> None:
    assert "Tidemill failed" not in error.message, error.message
    path = world.project.root / error.file
    data = text if path == world.file else path.read_bytes()
    lines = _lines(data)
    assert 1 <= error.line <= len(lines), error
    line = lines[error.line - 1]
    assert 1 <= error.column <= len(line) + 1, error
    assert error.length >= 1, error
    assert error.column - 1 + error.length <= max(len(line), error.column), error
    drawn = error.render()
    assert all(char == "\n" or char.isprintable() for char in drawn), drawn
    *_, source, caret = drawn.split("\n")[:4]
    assert "^" in caret, drawn
    assert caret.index("^") <= max(len(source), len(str(error.line)) + 3) * 2 + 1, drawn


def _lines(data: bytes) -> list[str]:
    from tidemill.spec.document import Text

    return Text("", data.decode("utf-8", "replace").removeprefix("\ufeff")).lines


def _judging(world: World, counts: dict[str, int], last: dict[str, Any], cases: int, start: int) -> Callable[[], None]:
    """A round of cases; ``counts`` takes what became of them, ``last`` the one that failed, as small as it gets."""

    @seed(start)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(CASES)
    def one(case: tuple[int, list[Mutation], bool]) -> None:
        last["case"] = case
        counts[check(world, *spec_of(case))] += 1

    return one


def run(
    world: World, cases: int, start: int, report: Callable[[str], None] | None = None
) -> tuple[dict[str, int], list[Path]]:
    """Judge cases; how many were what, and the files with those that failed."""
    counts = {"sound": 0, "refused": 0}
    failed: list[Path] = []
    done = 0
    while done < cases:
        size = min(ROUND, cases - done)
        last: dict[str, Any] = {}
        try:
            _judging(world, counts, last, size, start + done)()
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt) or "case" not in last:
                raise
            text, template = spec_of(last["case"])
            folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
            (folder / "spec.yaml").write_bytes(text)
            (folder / "template.yaml").write_bytes(template)
            (folder / "why.txt").write_text(f"{type(e).__name__}: {e}\n{last['case']!r}\n")
            failed.append(folder)
            if report:
                report(f"FAILED: {type(e).__name__}: {str(e)[:300]}; see {folder}")
        done += size
        if report:
            told = f"{counts['sound']:,} sound, {counts['refused']:,} refused, {len(failed)} failed"
            report(f"{done:,} of {cases:,} cases: {told}")
    return counts, failed


def _job(number: int, cases: int, start: int, state: Path) -> tuple[dict[str, int], list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder).resolve() / "project", state)
        return run(world, cases, start, lambda text: print(f"[{number}] {text}", flush=True))


def main() -> int:
    """Run the cases, in several processes; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    given_ = parser.parse_args()
    began = time.time()
    share = -(-given_.cases // given_.jobs)
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(given_.jobs) as pool:
        world = World(Path(folder).resolve() / "project")
        world.warm()
        first = given_.seed * 1_000_003
        work = [(n, share, first + n * 500_000_003, world.project.state) for n in range(given_.jobs)]
        results = pool.starmap(_job, work)
    total = {kind: sum(counts[kind] for counts, _ in results) for kind in ("sound", "refused")}
    failed = [folder for _, folders in results for folder in folders]
    print(
        f"{sum(total.values()):,} specs in {time.time() - began:.0f} s: {total['sound']:,} sound, "
        f"{total['refused']:,} refused at a place; {len(failed)} crashes, hangs or errors without a place"
    )
    for folder in failed:
        print(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
