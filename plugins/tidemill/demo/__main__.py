"""``python -m tidemill.demo up | down | status``: what `make run` and `make stop` call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tidemill.errors import TidemillError
from tidemill.project import Project


def main() -> int:
    """Run one command; a mistake or a fault that can be told ends with its message and exit code 1."""
    from tidemill.demo import demonstration
    from tidemill.spec.errors import SpecErrors

    asked = _arguments().parse_args()
    root = asked.root.resolve()
    project = Project.of(root / "dags")
    try:
        if asked.command == "up":
            demonstration.up(project, root / "dags" / asked.spec)
        elif asked.command == "down":
            demonstration.down(project)
        else:
            return demonstration.status(project)
    except SpecErrors as problem:
        print(problem.render(), file=sys.stderr)
        return 1
    except TidemillError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `make run` goes on from here, `make stop` ends the servers.", file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidemill.demo", description="The demonstration of Tidemill.")
    parser.add_argument(
        "command",
        choices=("up", "down", "status"),
        help="up: start Airflow and MLflow, replay the pipeline, say what happened. down: stop the servers.",
    )
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the project (default: here)")
    parser.add_argument("--spec", default="flight_delays.yaml", help="the pipeline, below dags/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
