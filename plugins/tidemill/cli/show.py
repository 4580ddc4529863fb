"""``tidemill show``: the pipeline as a picture in the terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tidemill.plan.model import DagPlan, Plan, SchedulePlan, TaskPlan
from tidemill.spec.errors import printable
from tidemill.spec.timing import PRESETS
from tidemill.spec.units import format_duration


def draw(plan: Plan) -> str:
    """The pipeline's DAGs as text: a head with what matters, then the tasks from left to right."""
    blocks = [_head(plan)]
    blocks += ["\n".join((_title(dag), *("  " + line for line in draw_dag(dag)))) for dag in plan.dags]
    # A text of a spec may hold what a terminal obeys.
    return "\n".join(map(printable, "\n\n".join(blocks).split("\n")))


def _head(plan: Plan) -> str:
    lines = [f"{plan.pipeline} ({plan.file})", *(f"  {line}".rstrip() for line in plan.description.splitlines())]
    return "\n".join([*lines, *(_of_model(plan) if plan.model else [])])


def _of_model(plan: Plan) -> list[str]:
    spec = plan.spec
    window, gates = spec["data"]["window"], spec["promote"]["when"]
    gate = "; ".join(_gate(metric, gates[metric]) for metric in spec["evaluate"]["metrics"] if metric in gates)
    return [
        f"  data      {spec['data']['source']}: {window['train']} to learn from, {window['holdout']} to be judged on",
        f"  model     {plan.model}@{spec['promote']['alias']}, trained by {spec['train']['code']}",
        f"  gate      {gate}",
    ]


def _gate(metric: str, gate: dict[str, object]) -> str:
    parts = []
    for key, sign in (("at_least", "≥"), ("at_most", "≤")):
        if key in gate:
            parts.append(f"{sign} {gate[key]:g}")
    gain = gate.get("gain")
    if isinstance(gain, dict):
        parts.append(f"gain ≥ {gain['at_least']:g}")
    worst = gate.get("worst_slice")
    if isinstance(worst, dict):
        bound = f"≥ {worst['at_least']:g}" if "at_least" in worst else f"≤ {worst['at_most']:g}"
        parts.append(f"worst slice {bound}")
    return f"{metric} {', '.join(parts)}"


def _title(dag: DagPlan) -> str:
    return f"{dag.dag_id}  ·  {describe_schedule(dag.schedule)}"


def describe_schedule(schedule: SchedulePlan) -> str:
    """A schedule in words."""
    parts = []
    if schedule.cron:
        name = next((preset for preset, cron in PRESETS.items() if cron == schedule.cron), schedule.cron)
        parts.append(name if schedule.timezone == "UTC" else f"{name} ({schedule.timezone})")
    if schedule.other is not None:
        parts.append(_other(schedule.other))
    if schedule.condition is not None:
        parts.append(f"on {_condition(schedule.condition)}")
    parts += [f"on {asset.name}" for asset in schedule.assets]
    text = " or ".join(parts) or "by hand"
    if schedule.first or schedule.last:
        first, last = (edge.removesuffix("T00:00:00+00:00") if edge else "" for edge in (schedule.first, schedule.last))
        text += f", as_of {first} … {last}"
    return text


def _other(plan: dict[str, Any]) -> str:
    if "preset" in plan:
        return str(plan["preset"]).removeprefix("@")
    if "every" in plan:
        return f"every {format_duration(timedelta(seconds=plan['every']))}"
    if "class" in plan:
        return str(plan["class"]).rpartition(".")[2]
    crons = ", ".join(plan["crons"])
    return crons if plan["timezone"] == "UTC" else f"{crons} ({plan['timezone']})"


def _condition(plan: dict[str, Any]) -> str:
    for key, word in (("any", " or "), ("all", " and ")):
        if key in plan:
            parts = [_condition(part) for part in plan[key]]
            return f"({word.join(parts)})" if len(parts) > 1 else parts[0]
    return str(plan.get("alias") or plan["asset"].get("name") or plan["asset"]["uri"])


def draw_dag(dag: DagPlan) -> list[str]:
    """The tasks in columns by depth; a task stands in the row of the one it follows, others below it."""
    tasks = dag.flat()
    column = _columns(tasks)
    row = _rows(tasks, column)
    mapped = {group.group_id for group in dag.groups if group.expand is not None}
    label = {t.task_id: _label(t, mapped) for t in tasks}
    width = [
        max(len(label[t.task_id]) for t in tasks if column[t.task_id] == c) for c in range(max(column.values()) + 1)
    ]
    grid = [["" for _ in width] for _ in range(max(row.values()) + 1)]
    for task in tasks:
        grid[row[task.task_id]][column[task.task_id]] = label[task.task_id]
    lines = []
    for r, cells in enumerate(grid):
        line = ""
        for c, name in enumerate(cells):
            left, sign, right = _joint(tasks, column, row, c, r) if c else ("", "", "")
            onward = _joint(tasks, column, row, c + 1, r)[0] if c + 1 < len(cells) else " "
            line += left + sign + right + (" " if name and c else right)
            line += (f"{name} " if name else "").ljust(width[c] + 1, onward)
        lines.append(line.rstrip())
    return lines


def _label(task: TaskPlan, mapped: set[str]) -> str:
    """A task's id, marked as Airflow does if there are several instances of it."""
    several = task.own is not None and (task.own.expand is not None or task.group in mapped)
    return f"{task.task_id} [ ]" if several else task.task_id


def _columns(tasks: tuple[TaskPlan, ...]) -> dict[str, int]:
    column: dict[str, int] = {}
    for task in tasks:
        column[task.task_id] = 1 + max((column[u] for u in task.upstream), default=-1)
    return column


def _rows(tasks: tuple[TaskPlan, ...], column: dict[str, int]) -> dict[str, int]:
    row: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for task in tasks:
        r = min((row[u] for u in task.upstream), default=0)
        while (column[task.task_id], r) in taken:
            r += 1
        row[task.task_id] = r
        taken.add((column[task.task_id], r))
    return row


def _joint(
    tasks: tuple[TaskPlan, ...], column: dict[str, int], row: dict[str, int], c: int, r: int
) -> tuple[str, str, str]:
    """What stands between columns c-1 and c in row r: each edge that crosses there comes from a row and, if it
    ends in column c, goes to a row; else it goes on in its own."""
    left, right = False, False
    spans: set[tuple[int, int]] = set()
    for task in tasks:
        for upstream in task.upstream:
            if not column[upstream] < c <= column[task.task_id]:
                continue
            # An edge changes rows where it leaves its first task if it goes down, where it arrives if it goes up.
            begin, end = row[upstream], row[task.task_id]
            if begin == end:
                now = (begin, end)
            elif end > begin:
                now = (begin, end) if c == column[upstream] + 1 else (end, end)
            else:
                now = (begin, end) if c == column[task.task_id] else (begin, begin)
            left, right = left or now[0] == r, right or now[1] == r
            spans.update((k, k + 1) for k in range(min(now), max(now)))
    up, down = (r - 1, r) in spans, (r, r + 1) in spans
    sign = _SIGNS.get((left, right, up, down), " ")
    return "─" if left else " ", sign, "─" if right else " "


_SIGNS = {
    (True, True, False, False): "─",
    (True, True, False, True): "┬",
    (True, True, True, False): "┴",
    (True, True, True, True): "┼",
    (False, True, True, False): "└",
    (False, True, True, True): "├",
    (False, True, False, True): "┌",
    (True, False, True, False): "┘",
    (True, False, True, True): "┤",
    (True, False, False, True): "┐",
    (False, False, True, True): "│",
}
