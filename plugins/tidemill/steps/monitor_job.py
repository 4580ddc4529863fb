"""The judgement of a window in a container: what it needs as files, and the same function over them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tidemill.ledger.views import DRIFT, PROMOTION, ROLLBACK, champion, previous_champion
from tidemill.project import Project
from tidemill.records import AsOf, MonitorReport, SketchPart
from tidemill.spec.monitoring import Monitor
from tidemill.steps import estimate, judging, reference
from tidemill.steps.computing import Computation, ModelFolders
from tidemill.steps.context import StepContext, StepError, TriggerFacts
from tidemill.steps.predictions import Header, Log
from tidemill.steps.sources import source_path
from tidemill.steps.window import moved_back

if TYPE_CHECKING:
    from tidemill.ledger import Entry
    from tidemill.tools.mlflow import Mlflow

_FILES = "monitor"
"""The folder of a run's scratch, and of a job's output, in which page and distances lie."""
_BODY = ("version", "to_version", "outcome", "data_version", "start", "end", "drifted")
"""What is asked of the ledger's entries."""
Span = tuple[datetime, datetime]


def prepared(
    ctx: StepContext, settings: Monitor, report: MonitorReport, entries: Sequence[Entry], mlflow: Mlflow
) -> Computation:
    """The files that the judgement of a window reads.

    Raises:
        StepError: MLflow or the log cannot be read (``retry``), or a source is not there.
    """
    delay = settings.labels.delay if settings.labels is not None else None
    spans = ((report.start, report.end), moved_back((report.start, report.end), delay))
    whole = (min(start for start, _ in spans), max(end for _, end in spans))
    logged = [] if (log := Log.of(ctx)) is None else list(log.about(*whole, until=ctx.as_of.instant))
    place = Path(tempfile.mkdtemp(prefix="files-", dir=ctx.scratch("processing")))
    farm = _Farm(ctx, place)
    farm.sources(settings, whole)
    for _, folder, _ in logged:
        farm.link("log", folder.name, folder)
    for part in ctx.parts:
        farm.link("sketches", Path(part.path).name, Path(part.path))
    farm.versions(mlflow, settings, report, entries, spans, [header for _, _, header in logged])
    return Computation(
        spec=ctx.spec,
        root=ctx.project.root,
        inputs=farm.inputs,
        facts={
            "pipeline": ctx.pipeline,
            "model": ctx.model,
            "dag_id": ctx.dag_id,
            "run_id": ctx.run_id,
            "as_of": ctx.as_of.to_json(),
            "report": report.to_json(),
            "entries": list(_told(entries)),
            "parts": [part.to_json() for part in ctx.parts],
            "sources": farm.named,
            "missing": farm.missing,
        },
        output=place,
        log=ctx.log,
        keep=(_Removed(place), *farm.keep),
    )


class _Removed:
    """Takes a folder away when nobody needs it any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __del__(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class _Farm:
    """Inputs, made of links: to the files of sources, logs, models and their artifacts."""

    ctx: StepContext
    place: Path
    inputs: dict[str, Path] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)

    def link(self, name: str, path: str, target: Path) -> None:
        """A file, or a folder's files, as part of an input."""
        self.inputs[name] = self.place / name
        files = [target] if target.is_file() else [file for file in target.rglob("*") if file.is_file()]
        for file in files:
            at = self.place / name / path / file.relative_to(target) if file != target else self.place / name / path
            at.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.path.realpath(file), at)

    def sources(self, settings: Monitor, span: Span) -> None:
        """The files of every source that may hold rows of the span; all of those of the labels, which have no time."""
        from tidemill.tools import source

        spec = self.ctx.spec
        asked: dict[str, Span | None] = {spec.data.source: span}
        if spec.score is not None and spec.score.source:
            asked.setdefault(spec.score.source, span)
        if settings.labels is not None:
            asked[settings.labels.source] = None
        for number, (text, within) in enumerate(asked.items()):
            path, name = source_path(self.ctx, text), f"source-{number}"
            self.named[text] = name
            if not path.is_dir():
                source.scan(path)
                self.inputs[name] = path
            elif within is None:
                self.link(name, "", path)
            else:
                for file in source.holding(path, spec.data.window.column, *within):
                    self.link(name, file.relative_to(path).as_posix(), file)

    def versions(
        self,
        mlflow: Mlflow,
        settings: Monitor,
        report: MonitorReport,
        entries: Sequence[Entry],
        spans: Sequence[Span],
        logged: Sequence[Header],
    ) -> None:
        """The models that may be asked for rows, and what versions keep of their training."""
        told = {header.version for header in logged}
        champions = [champion(entries, at=start) for start, _ in spans]
        asked = {str(entry.body["version"]) for entry in champions if entry is not None}
        models = set(asked)
        if settings.compare_previous:
            before = [previous_champion(entries, at=at, of=v) for v in (asked | told) for at in spans[1]]
            models |= {str(entry.body["version"]) for entry in before if entry is not None}
        for version in sorted(models):
            self._model(mlflow, version)
        wanted = [(str(report.version), reference.FILE), (str(report.version), reference.PREDICTIONS)]
        paths = [(version, f"{reference.ARTIFACTS}/{name}") for version, name in wanted if settings.drift is not None]
        if settings.estimate:
            paths += [(version, estimate.ARTIFACT) for version in sorted({str(report.version)} | told)]
        for version, path in paths:
            self._artifact(mlflow, version, path)

    def _model(self, mlflow: Mlflow, version: str) -> None:
        try:
            found = mlflow.fetch_version(self.ctx.model, version)
        except StepError as error:
            self._lacks(version, error)
            return
        self.keep.append(found)
        self.link("models", version, found.folder)

    def _artifact(self, mlflow: Mlflow, version: str, path: str) -> None:
        try:
            found = mlflow.download(self.ctx.model, version, path)
        except StepError as error:
            self._lacks(f"{version}/{path}", error)
            return
        self.link("artifacts", f"{version}/{path}", found)

    def _lacks(self, name: str, error: StepError) -> None:
        """Whether it is needed, and what its want means, the judgement knows."""
        if error.retry:
            raise error
        self.missing[name] = str(error)


def _told(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """The entries that are asked of, as JSON."""
    for entry in entries:
        if entry.kind in (PROMOTION, ROLLBACK, DRIFT):
            body = {name: entry.body[name] for name in _BODY if name in entry.body}
            at = {name: None if (when := getattr(entry, name)) is None else when.isoformat() for name in _INSTANTS}
            yield {"kind": entry.kind, "seq": entry.seq, "key": entry.key, "hash": entry.hash, "body": body, **at}


_INSTANTS = ("as_of", "recorded_at")


def _entry(model: str, told: Mapping[str, Any]) -> Entry:
    from tidemill.ledger import Entry

    at = {name: None if told[name] is None else datetime.fromisoformat(told[name]) for name in _INSTANTS}
    return Entry(model=model, prev_hash=None, payload=b"", **{**told, **at})


@dataclass(frozen=True)
class _Staged(Project):
    """A project whose files lie where the job's inputs are."""

    files: Mapping[str, Path]

    def path(self, text: str) -> Path:
        """Where a path of the spec is here."""
        return self.files.get(text) or super().path(text)


def compute(given: Computation) -> Mapping[str, Any]:
    """The report of a window, as JSON; its page and distances in ``output/monitor``.

    Raises:
        StepError: as :func:`tidemill.steps.judging.judged`.
    """
    settings = given.spec.monitor
    assert settings is not None
    with tempfile.TemporaryDirectory(prefix="tidemill-monitor-") as state:
        ctx = _context(given, Path(state))
        models = ModelFolders(
            given.inputs.get("models", Path(state)),
            given.inputs.get("artifacts", Path(state)),
            given.root,
            given.facts["missing"],
        )
        entries = [_entry(ctx.model, told) for told in given.facts["entries"]]
        report = judging.judged(ctx, settings, MonitorReport.from_json(given.facts["report"]), entries, models)
        shutil.copytree(ctx.scratch("monitor"), given.output / _FILES)
    return report.to_json()


def _context(given: Computation, state: Path) -> StepContext:
    from tidemill.platforms.local.connections import NoConnections
    from tidemill.platforms.local.jobs import LocalJobs

    facts, spec = given.facts, given.spec
    files = {text: given.inputs[name] for text, name in facts["sources"].items()}
    log = given.inputs.get("log", state / "no-predictions")
    if spec.score is not None and spec.score.output:
        files[spec.score.output] = log
    else:
        (state / "predictions").mkdir()
        (state / "predictions" / facts["pipeline"]).symlink_to(log)
    as_of = AsOf.from_json(facts["as_of"])
    parts = [SketchPart.from_json(part) for part in facts["parts"]]
    return StepContext(
        pipeline=facts["pipeline"],
        dag_id=facts["dag_id"],
        run_id=facts["run_id"],
        task_id="monitor",
        try_number=1,
        spec=spec,
        spec_hash="",
        model=facts["model"],
        project=_Staged(given.root, state, files),
        connections=NoConnections(),
        jobs=LocalJobs(),
        open_ledger=_no_ledger,
        trigger=TriggerFacts(params={}, run_after=as_of.instant, run_type=""),
        results={"as_of": as_of},
        parts=tuple(_here(part, given.inputs) for part in parts),
        log=given.log,
    )


def _here(part: SketchPart, inputs: Mapping[str, Path]) -> SketchPart:
    from dataclasses import replace

    return replace(part, path=str(inputs["sketches"] / Path(part.path).name))


def _no_ledger() -> NoReturn:
    raise StepError("a processing job has no ledger")


def brought(ctx: StepContext, report: MonitorReport, output: Path) -> MonitorReport:
    """The report, with the files that a job has left of it in the run's own folder."""
    from dataclasses import replace

    target = ctx.scratch("monitor")
    if (output / _FILES).is_dir():
        shutil.copytree(output / _FILES, target, dirs_exist_ok=True)
    return replace(report, page=str(target / Path(report.page).name) if report.page else None)
