"""A pipeline under test: its plan, its DAGs, and the ways to try it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.cli.locate import Place
from tidemill.errors import TidemillError
from tidemill.plan.model import DagPlan, Kind, Plan
from tidemill.settings import chosen
from tidemill.testing.dag import Dag

if TYPE_CHECKING:
    import pandas as pd
    from airflow.sdk import DAG

    from tidemill.testing.running import Run
    from tidemill.testing.step import StepResult
    from tidemill.testing.training import Table, Trained


def load(path: Path, environment: str | None, row: str | None) -> Pipeline:
    """As :func:`tidemill.testing.load`."""
    __tracebackhide__ = True
    from tidemill.cli.validate import check_environment, plan_of, verdicts
    from tidemill.spec.errors import SpecErrors

    with chosen(environment):
        try:
            if environment is not None:
                check_environment(environment, verdicts([path]))
            plan, file, place = plan_of(path, row)
        except SpecErrors as e:
            raise AssertionError(e.render()) from None
        except TidemillError as e:
            raise AssertionError(str(e)) from None
    return Pipeline(plan, file, place, row, environment)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline whose spec has no mistakes. ``place`` is its DAG folder and project."""

    plan: Plan = field(repr=False)
    file: Path
    place: Place = field(repr=False)
    row: str | None = None
    environment: str | None = None

    @property
    def id(self) -> str:
        """The pipeline's id: the file's stem, with the row of its matrix."""
        return self.plan.pipeline

    @property
    def spec(self) -> dict[str, Any]:
        """The spec with its defaults, as plain values."""
        return self.plan.spec

    @property
    def dags(self) -> tuple[Dag, ...]:
        """Its DAGs."""
        return tuple(Dag.of(dag, self.plan.file) for dag in self.plan.dags)

    def dag(self, kind: Kind | None = None) -> Dag:
        """The DAG of a kind, ``training``, ``score``, ``monitor`` or ``workflow``; without one, the first.

        Raises:
            AssertionError: it has no such DAG.
        """
        __tracebackhide__ = True
        return Dag.of(self._dag_plan(kind), self.plan.file)

    def build(self, kind: Kind | None = None) -> DAG:
        """The Airflow DAG with its real operators, after Airflow has serialized it and read it back.

        Raises:
            AssertionError: it cannot be built or stored, with what was asked for and where.
        """
        __tracebackhide__ = True
        from tidemill.testing.building import built

        return built(self.plan, self._dag_plan(kind), self.file, self.place.project)

    def run_step(
        self,
        name: str,
        *,
        each: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        as_of: str | datetime | None = None,
        connections: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        kind: Kind | None = None,
    ) -> StepResult:
        """Run one step of the user's own for real, in this process, without a scheduler or a database.

        Its templates are rendered by Airflow, with these in place of the rest of the world: ``outputs``, the results
        of other steps by full id (of a mapped one, a list); ``params`` of the run; ``as_of``, the instant that the run
        stands at; ``connections``, URIs by id; ``variables`` by name. ``each``: of a mapped step, or one in a mapped
        group, the arguments of the one instance to run. A sensor is asked once.

        Returns what the step returned, with the fields as they were rendered.

        Raises:
            AssertionError: there is no such step; it is an ML stage, or deferrable; or it asks for a result that is
                not in ``outputs``. What the step itself raises is raised as it is.
        """
        __tracebackhide__ = True
        from tidemill.testing.step import World, run_step

        world = World(
            outputs=dict(outputs or {}),
            params=dict(params or {}),
            as_of=as_of,
            connections=dict(connections or {}),
            variables=dict(variables or {}),
            each=each,
        )
        with chosen(self.environment):
            return run_step(self.plan, self._dag_plan(kind), name, self.file, self.place.project, world)

    def sample(self, rows: int = 500, *, as_of: str | datetime | None = None) -> pd.DataFrame:
        """About so many rows of the source, spread evenly over the window of a run at ``as_of``, in the order of time:
        the training rows, then the holdout. Without ``as_of``: the spec's ``end``, or now if that is earlier.

        Raises:
            AssertionError: it is a workflow of steps alone, or the window has no rows.
        """
        __tracebackhide__ = True
        from tidemill.testing.sample import sample

        train, holdout = sample(self.plan, self.place.project, rows, as_of)
        return train.extend(holdout).to_pandas()

    def train(
        self, rows: Table | int = 500, *, holdout: Table | None = None, params: Mapping[str, Any] | None = None
    ) -> Trained:
        """Call the spec's training function as the pipeline would, in a process of its own, and return its model.

        ``rows``: a DataFrame of pandas or polars, the path of a Parquet or CSV file, or how many rows of the source's
        window to take, the holdout among them. ``holdout``: the rows that it is given as the holdout; without, those of
        the window, or the same as ``rows``. ``params``: instead of those in ``train.params``, name by name.

        Raises:
            AssertionError: the function failed, or left no model; with what it said.
        """
        __tracebackhide__ = True
        from tidemill.testing.training import train

        return train(self.plan, self.place.project, rows, holdout, params or {})

    def run(
        self,
        *,
        sample: int | None = 500,
        as_of: str | datetime | None = None,
        params: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        approve: bool = True,
        connections: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        timeout: float = 300,
    ) -> Run:
        """Run the training DAG, or the workflow, to its end by Airflow's own in-process runner.

        It runs in a process, an Airflow home and a state folder of its own: neither ledger, registry nor data versions
        of the project are touched. A pipeline that trains on a cloud trains on this machine: a test submits no jobs.
        ``sample``: about how many rows of the source's window it gets (``None``: all).
        ``overrides``: values of the spec by path, as ``{"promote.when.roc_auc.at_least": 0}``. ``approve``: the answer
        where a person is asked. ``timeout`` is in seconds.

        A task that fails is no error here: ``run.state`` tells, and ``run.assert_success()`` asserts. It is not tried
        again, whatever ``retries`` say.

        Raises:
            AssertionError: the overrides make the spec invalid, the run took too long, or it could not begin.
        """
        __tracebackhide__ = True
        from tidemill.testing.running import Wanted, run

        wanted = Wanted(
            sample=sample,
            as_of=as_of,
            params=dict(params or {}),
            overrides=dict(overrides or {}),
            approve=approve,
            connections=dict(connections or {}),
            variables=dict(variables or {}),
            timeout=timeout,
        )
        with chosen(self.environment):
            return run(self, wanted)

    def _dag_plan(self, kind: Kind | None) -> DagPlan:
        __tracebackhide__ = True
        for dag in self.plan.dags:
            if kind is None or dag.kind == kind:
                return dag
        kinds = " and ".join(f'"{dag.kind}"' for dag in self.plan.dags)
        raise AssertionError(f'{self.id} ({self.plan.file}) has no DAG "{kind}"; it has {kinds}')
