"""What answers a task in place of Airflow's supervisor: results, connections and variables of a test.

It imports Airflow, and so is imported when a step is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.serde import deserialize, serialize

from tidemill.project import Project
from tidemill.testing.code import importable
from tidemill.testing.environment import airflow_variables
from tidemill.testing.line import open_line

if TYPE_CHECKING:
    from tidemill.testing.dag import Dag, Task
    from tidemill.testing.step import World

_RESULT = "return_value"


class Supervisor:
    """Answers what the task of one step asks, and keeps what it tells.

    Values go through Airflow's own serialization, so that the step gets them as it would in a run.
    """

    def __init__(self, dag: Dag, task: Task, world: World) -> None:
        self._dag = dag
        self._task = task
        self._world = world
        self.missing: str | None = None
        self.pushed: dict[str, Any] = {}
        self.skips: list[str] = []
        self.triggered: list[dict[str, Any]] = []
        self.variables: dict[str, str] = {}

    def send(self, msg: Any) -> Any:
        """Answer a message of Airflow's task runner."""
        answer = getattr(self, f"_{type(msg).__name__}", None)
        if answer is not None:
            return answer(msg)
        if type(msg).__name__.startswith("Get"):
            return comms.ErrorResponse(detail={"message": f"a step under test has no {type(msg).__name__[3:]}"})
        return comms.OKResponse(ok=True)

    async def asend(self, msg: Any) -> Any:
        """As ``send``, for code that awaits."""
        return self.send(msg)

    def _output(self, task_id: str, key: str) -> Any:
        """The result of another step, or one of its fields, as Airflow keeps it; ``None`` if it has none."""
        if task_id == self._task.id:
            return None
        if task_id not in self._world.outputs:
            self.missing = (
                f'"{self._task.id}" ({self._task.place}) asks for the result of "{task_id}": give one, '
                f"outputs={{{task_id!r}: …}}, or None for a step that had none"
            )
            raise LookupError(self.missing)
        value = self._world.outputs[task_id]
        if key == _RESULT or value is None:
            return value
        try:
            return value[key]
        except (KeyError, TypeError, IndexError):
            self.missing = (
                f'"{self._task.id}" ({self._task.place}) asks for "{key}" of the result of "{task_id}", which '
                f"outputs gives as {value!r:.200}"
            )
            raise LookupError(self.missing) from None

    def _all(self, task_id: str, key: str) -> list[Any]:
        """The results of all instances of a step."""
        value = self._output(task_id, key if not self._is_mapped(task_id) else _RESULT)
        if value is None:
            return []
        if not self._is_mapped(task_id):
            return [_stored(value)]
        if not isinstance(value, list | tuple):
            self.missing = f'"{task_id}" is mapped: outputs must give the list of its results, got {value!r:.200}'
            raise LookupError(self.missing)
        return [_stored(item if key == _RESULT else item[key]) for item in value]

    def _is_mapped(self, task_id: str) -> bool:
        """Whether this step sees several instances of that one: not if both are in one instance of a group."""
        other = self._dag.task(task_id)
        own = next(task for task in self._dag.plan.tasks if task.task_id == task_id).own
        if own is not None and own.expand is not None:
            return True
        return other.mapped and not self._share_a_mapped_group(task_id)

    def _share_a_mapped_group(self, task_id: str) -> bool:
        mapped = [group.group_id for group in self._dag.plan.groups if group.expand is not None]
        return any({task_id, self._task.id} <= self._dag.members(group) for group in mapped)

    def _GetXCom(self, msg: Any) -> Any:
        value = self._output(msg.task_id, msg.key)
        return comms.XComResult(key=msg.key, value=None if value is None else _stored(value))

    def _GetXComCount(self, msg: Any) -> Any:
        return comms.XComCountResponse(len=len(self._all(msg.task_id, msg.key)))

    def _GetXComSequenceItem(self, msg: Any) -> Any:
        found = self._all(msg.task_id, msg.key)
        try:
            return comms.XComSequenceIndexResult(root=found[msg.offset])
        except IndexError:
            return comms.ErrorResponse()

    def _GetXComSequenceSlice(self, msg: Any) -> Any:
        return comms.XComSequenceSliceResult(root=self._all(msg.task_id, msg.key)[msg.start : msg.stop : msg.step])

    def _SetXCom(self, msg: Any) -> Any:
        self.pushed[msg.key] = deserialize(msg.value)
        return comms.OKResponse(ok=True)

    def _SkipDownstreamTasks(self, msg: Any) -> Any:
        self.skips += [task if isinstance(task, str) else task[0] for task in msg.tasks]
        return comms.OKResponse(ok=True)

    def _TriggerDagRun(self, msg: Any) -> Any:
        self.triggered.append({"dag_id": msg.dag_id, "conf": dict(msg.conf or {})})
        return comms.OKResponse(ok=True)

    def _GetDagRunState(self, msg: Any) -> Any:
        return comms.DagRunStateResult(state="success")

    def _PutVariable(self, msg: Any) -> Any:
        self.variables[msg.key] = msg.value
        return comms.OKResponse(ok=True)

    def _GetVariable(self, msg: Any) -> Any:
        if msg.key in self.variables:
            return comms.VariableResult(key=msg.key, value=self.variables[msg.key])
        return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)

    def _GetConnection(self, msg: Any) -> Any:
        return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)

    def _GetTICount(self, msg: Any) -> Any:
        return comms.TICount(count=1)


def _stored(value: Any) -> Any:
    return serialize(value)


@contextmanager
def in_place(supervisor: Supervisor, world: World, project: Project) -> Iterator[None]:
    """The supervisor, the connections, the variables and the project's code in place of the world, for a while."""
    runner: Any = task_runner
    environment = dict(os.environ)
    had, before = hasattr(runner, "SUPERVISOR_COMMS"), getattr(runner, "SUPERVISOR_COMMS", None)
    os.environ.update(airflow_variables(world.connections, world.variables))
    runner.SUPERVISOR_COMMS = supervisor
    try:
        with importable(project.root), open_line(supervisor.send):
            yield
    finally:
        if had:
            runner.SUPERVISOR_COMMS = before
        else:
            del runner.SUPERVISOR_COMMS
        os.environ.clear()
        os.environ.update(environment)
