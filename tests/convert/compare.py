"""dag-factory's own DAGs beside those of the converted specs, as Airflow stores them.

``python -m tests.convert.compare FILE… [--project ROOT] [--json]``: a table with one line a DAG; exit code 1 if one
differs. Both are built in this process, so what the files name is imported: compare only files that you trust.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_NO_START = 946684800.0
"""2000-01-01, which a spec's DAG begins with if none is given; without catch-up it changes nothing."""
_EXPLAINS = ("hands a function", "is read when the task runs", "shows the first line")
"""What is told of a place where nothing is lost, and yet something is stored otherwise."""
_PLACES = ("fileloc", "relative_fileloc", "_processor_dags_folder")


@dataclass
class Result:
    """One DAG: ``equal``; ``explained``, where the conversion tells what differs; ``differs``; ``not converted``; or
    ``does not run`` with dag-factory; and why."""

    file: str
    dag_id: str
    verdict: str
    why: list[str] = field(default_factory=list)


def compare(file: Path, root: Path, dags: Path, scratch: Path) -> Iterator[Result]:
    """Compare each DAG of a file. ``dags``: the folder at which dag-factory's defaults begin; ``scratch``: where the
    specs are written, and signatures kept."""
    from tidemill.convert.file import convert
    from tidemill.project import Project
    from tidemill.spec.errors import SpecErrors

    project = Project(root, scratch / "state")
    folder = scratch / "dags"
    folder.mkdir(exist_ok=True)
    try:
        made, notes = convert(file, folder, dags, project)
    except (SpecErrors, OSError) as e:
        yield Result(file.name, "", "not converted", [str(e).strip().splitlines()[0]])
        return
    for note in notes:
        if note.lost:
            yield Result(file.name, note.path, "not converted", [note.message])
    for one in made:
        ours = _ours(one, folder, project)
        try:
            theirs = _theirs(file, one.dag_id, dags)
        except Exception as e:  # noqa: BLE001 - whatever dag-factory or Airflow makes of it
            first = f"{type(e).__name__}: {e}".strip().splitlines()[0][:160]
            also = [] if isinstance(ours, dict) else [f"spec: {ours}"]
            yield Result(file.name, one.dag_id, "does not run", [first, *also])
            continue
        if isinstance(ours, str):
            yield Result(file.name, one.dag_id, "not converted", [ours])
            continue
        found = list(differences(theirs, ours))
        reasons = list(dict.fromkeys(n.message for n in one.notes if n.lost or any(e in n.message for e in _EXPLAINS)))
        verdict = "equal" if not found else "explained" if reasons else "differs"
        yield Result(file.name, one.dag_id, verdict, [*found, *(reasons if found else ())])


def _ours(made: Any, folder: Path, project: Any) -> dict[str, Any] | str:
    from airflow.serialization.serialized_objects import DagSerialization

    from tidemill.airflow.factory import build
    from tidemill.verdict import judge

    (folder / made.file.name).write_text(made.text, encoding="utf-8")
    os.environ["AIRFLOW__TIDEMILL__ALLOW"] = " ".join(made.allow)
    verdict = judge(folder / made.file.name, folder, project)
    if verdict.errors:
        return "; ".join(f"{e.line}: {e.path}: {e.message}" for e in verdict.errors)
    (plan,) = verdict.plans
    dag = build(plan, plan.dags[0], folder / made.file.name, project)
    return dict(DagSerialization.to_dict(dag))


def _theirs(file: Path, dag_id: str, dags: Path) -> dict[str, Any]:
    from airflow.serialization.serialized_objects import DagSerialization
    from dagfactory.dagfactory import _DagFactory

    factory = _DagFactory(config_filepath=str(file), defaults_config_path=str(dags))
    factory.config = {key: value for key, value in factory.config.items() if key in (dag_id, "default")}
    (dag,) = factory.build_dags().values()
    return dict(DagSerialization.to_dict(dag))


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """What differs in what is stored of two DAGs, but for the marks that each factory leaves on its own."""
    left, right = _normal(theirs), _normal(ours)
    _leave_out_implied(left["tasks"], right["tasks"])
    yield from _diff(left, right, "")


def _leave_out_implied(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Take dag-factory's edges away that others of the same DAG imply: it puts a group after a task before it knows
    which of the group's tasks are its first ones, as the order of the file has it."""
    for name, task in theirs.items():
        kept = set(ours.get(name, {}).get("downstream_task_ids", ()))
        for more in set(task.get("downstream_task_ids", ())) - kept:
            if any(_leads(theirs, other, more) for other in kept):
                task["downstream_task_ids"] = [one for one in task["downstream_task_ids"] if one != more]


def _leads(tasks: dict[str, Any], start: str, end: str) -> bool:
    open_ends, seen = [start], set()
    while open_ends:
        at = open_ends.pop()
        if at == end:
            return True
        if at not in seen:
            seen.add(at)
            open_ends += tasks.get(at, {}).get("downstream_task_ids", ())
    return False


def _normal(stored: dict[str, Any]) -> dict[str, Any]:
    dag = copy.deepcopy(stored["dag"])
    for key in _PLACES:
        dag.pop(key, None)
    # Each factory signs its DAGs with a tag, and appends to their documentation.
    dag["tags"] = sorted(set(dag.get("tags") or ()) - {"dagfactory", "tidemill"})
    dag.pop("doc_md", None)
    # What default_args do is seen at the tasks; they themselves are kept for nothing else.
    dag.pop("default_args", None)
    # Stored where it is not the start date's, and used for schedules alone, which have their own.
    dag.pop("timezone", None)
    dag["params"] = {name: _param(value) for name, value in dag.get("params") or ()}
    bounds = {key: dag.pop(key, None) for key in ("start_date", "end_date")}
    dag["tasks"] = {str(task["__var"]["task_id"]): _task(task, dag["params"], bounds) for task in dag["tasks"]}
    return dag


def _task(task: dict[str, Any], params: dict[str, Any], bounds: dict[str, Any]) -> dict[str, Any]:
    value = dict(task["__var"])
    # Airflow stores a date at a task where it is not the DAG's: what counts is the one that holds for the task.
    for key, of_dag in bounds.items():
        value[key] = value.get(key) or of_dag
    if value["start_date"] == _NO_START:
        value["start_date"] = None
    # Airflow reads true as the factor 2.
    if value.get("retry_exponential_backoff") is True:
        value["retry_exponential_backoff"] = 2.0
    # A spec's tasks take the DAG's params from the DAG, and do not store them once more.
    own = {name: _param(param) for name, param in value.pop("params", None) or ()}
    value["params"] = {name: param for name, param in own.items() if params.get(name) != param}
    return {"type": str(task["__type"]), **{str(key): below for key, below in value.items()}}


def _param(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: below for key, below in value.items() if key != "source"}
    return value


def _diff(left: Any, right: Any, path: str) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys(), key=str):
            at = f"{path}.{key}" if path else str(key)
            if key not in left:
                yield f"{at}: only in the spec's: {_short(right[key])}"
            elif key not in right:
                yield f"{at}: only in dag-factory's: {_short(left[key])}"
            else:
                yield from _diff(left[key], right[key], at)
    elif left != right:
        yield f"{path}: {_short(left)} → {_short(right)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:99] + "…"


def main() -> None:
    """Compare the files of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.convert.compare", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--project", type=Path, help="its root, which holds include/; the files' folder if absent")
    parser.add_argument("--dags", type=Path, help="the DAG folder; the files' folder if absent")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DO_NOT_TRACK", "1")  # dag-factory tells its makers of its use
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tidemill-compare-") as scratch:
        results = _compared(options, Path(scratch))
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        _table(results)
    if any(result.verdict in ("differs", "not converted") for result in results):
        raise SystemExit(1)


def look_at_all(files: Iterable[Path], project: Any) -> None:
    """Look at all of Airflow's classes that files name in one process, instead of in one for each file."""
    from tidemill.checks.signatures import signatures
    from tidemill.convert.names import operator_name

    texts = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = {operator_name(name) for name in re.findall(r"\bairflow(?:\.\w+)+", texts)} | {"airflow.sdk.BaseOperator"}
    signatures([(name, "operator") for name in sorted(named)], project)


def _compared(options: argparse.Namespace, scratch: Path) -> list[Result]:
    from tidemill.project import Project

    results: list[Result] = []
    look_at_all(options.files, Project((options.project or Path.cwd()).resolve(), scratch / "state"))
    for file in options.files:
        place = file.resolve()
        dags = (options.dags or place.parent).resolve()
        root = (options.project or dags).resolve()
        for folder in (str(dags), str(root)):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        results += compare(place, root, dags, scratch)
    return results


def _table(results: list[Result]) -> None:
    width = max((len(f"{r.file}: {r.dag_id}") for r in results), default=0)
    for result in results:
        print(f"{f'{result.file}: {result.dag_id}':{width}}  {result.verdict}")
        for line in result.why:
            print(f"{'':{width}}    {line}")
    counts: dict[str, int] = {}
    for result in results:
        counts[result.verdict] = counts.get(result.verdict, 0) + 1
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))


if __name__ == "__main__":
    from tests.airflow_home import import_airflow

    sys.stdout, terminal = sys.stderr, sys.stdout
    import_airflow()
    sys.stdout = terminal
    main()
