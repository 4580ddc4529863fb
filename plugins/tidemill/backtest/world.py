"""The world of a backtest: a state folder of its own, where each policy has a model, and all share what was trained.

Two policies that train at one instant on the same data ask for one training: it is done once, and counts for both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import TidemillError
from tidemill.locks import Taken, held
from tidemill.platforms.local.connections import NoConnections
from tidemill.project import Project, sqlite_url
from tidemill.records import Record
from tidemill.spec.models import Spec
from tidemill.spec.platform import Platform
from tidemill.steps.context import StepContext, TriggerFacts

if TYPE_CHECKING:
    from tidemill.backtest.policies import Policy
    from tidemill.ledger import Ledger
    from tidemill.plan.model import Plan

_LEFT = "backtest"


class BacktestError(TidemillError):
    """A backtest cannot be made as asked; the message says what to do."""


@dataclass(frozen=True)
class World:
    """Where one backtest's state is. ``identity``: of spec, code, data and beginning; another one begins anew."""

    plan: Plan
    spec: Spec
    project: Project
    identity: str
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tidemill.backtest"))

    @classmethod
    def of(cls, plan: Plan, project: Project, since: datetime | None) -> World:
        """The world of a plan's backtest from an instant on.

        Raises:
            BacktestError: the source is not there.
        """
        from tidemill.steps.code import code_version

        spec = Spec.model_validate(plan.spec)
        # History is trained again here, wherever the pipeline itself trains, and versions nothing in its bucket.
        here = Platform(provider="local").model_copy(update={"price": spec.platform.price})
        data = spec.data.model_copy(update={"version": "dvc", "keep": None})
        spec = spec.model_copy(update={"platform": here, "data": data})
        told = [plan.spec_hash, code_version(project.root), str(since)]
        for key, name in _sources(spec).items():
            if "://" in name:
                raise BacktestError(
                    f"{key} is an address, and a backtest reads files: fetch {name}, and name that file."
                )
            source = project.path(name)
            files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
            try:
                told += [f"{f} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
            except OSError as error:
                raise BacktestError(f"{source} cannot be read: {error.strerror}. Check {key}.") from None
        identity = hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
        state = project.state / _LEFT / plan.pipeline / identity
        return cls(plan, spec, Project(project.root, state), identity)

    @contextmanager
    def entered(self, *, fresh: bool) -> Iterator[None]:
        """Its folder, for this process alone; what is left of other backtests of the pipeline is taken away.

        Raises:
            BacktestError: another backtest of this pipeline is running; the folder cannot be made.
        """
        home = self.project.state.parent
        with ExitStack() as stack:
            try:
                home.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(home / ".lock"))
            except OSError as error:
                raise BacktestError(f"{home} cannot be written: {error.strerror}.") from None
            except Taken:
                raise BacktestError(
                    f"another backtest of {self.plan.pipeline} is running; wait for it, or stop it"
                ) from None
            for other in home.iterdir():
                if other.is_dir() and (fresh or other != self.project.state):
                    shutil.rmtree(other, ignore_errors=True)
            self.project.state.mkdir(exist_ok=True)
            yield

    def model(self, policy: Policy) -> str:
        """The registered model of a policy."""
        return f"{self.plan.model}.{policy.name}"

    def ledger(self) -> Ledger:
        """The ledger of all policies: each has a chain of its own, by its model."""
        from tidemill.ledger import open_ledger

        return open_ledger(sqlite_url(self.project.state / "ledger.db"))

    def context(
        self, policy: Policy, dag_id: str, run_id: str, step: str, trigger: TriggerFacts, results: Mapping[str, Record]
    ) -> StepContext:
        """What a step is given: as Airflow's operator makes it, in this world. A person would approve."""
        from tidemill.platforms.local.jobs import LocalJobs

        return StepContext(
            pipeline=self.plan.pipeline,
            dag_id=dag_id,
            run_id=run_id,
            task_id=step,
            try_number=1,
            spec=self._spec(policy),
            spec_hash=self.plan.spec_hash,
            model=self.model(policy),
            project=self.project,
            connections=NoConnections(),
            jobs=LocalJobs(),
            open_ledger=self.ledger,
            trigger=trigger,
            results=results,
            answer={"chosen_options": ["Approve"], "responded_by_user": {"name": "the backtest"}},
            log=self.log,
        )

    def _spec(self, policy: Policy) -> Spec:
        """The spec as a policy has it. What the real champions scored is not read: each policy has a log of its own."""
        spec = policy.spec(self.spec)
        if spec.score is None:
            return spec
        log = str(self.project.state / "predictions" / policy.name)
        return spec.model_copy(update={"score": spec.score.model_copy(update={"output": log})})

    def kept(self, policy: Policy, name: str) -> dict[str, Any] | None:
        """What an earlier, interrupted backtest had come to here."""
        try:
            found = json.loads(self._file(policy, name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def keep(self, policy: Policy, name: str, value: Mapping[str, Any]) -> None:
        """Keep what a tick came to, so that it has not to be done again."""
        file = self._file(policy, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(value), encoding="utf-8")
        part.replace(file)

    def _file(self, policy: Policy, name: str) -> Path:
        return self.project.state / "ticks" / policy.name / f"{name}.json"


def _sources(spec: Spec) -> dict[str, str]:
    """What a backtest reads, by the key that names it."""
    labels = spec.monitor.labels if spec.monitor else None
    found = {
        "data.source": spec.data.source,
        "score.source": spec.score.source if spec.score else None,
        "monitor.labels.source": labels.source if labels else None,
    }
    return {key: source for key, source in found.items() if source}
