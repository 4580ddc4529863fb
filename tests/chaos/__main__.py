"""``python -m tests.chaos``: see ``--help``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import lost
from tests.chaos.chaos import Outcome, chaos
from tests.chaos.world import services

_EXAMPLE = """\
example:
  python -m tests.chaos --runs 200 --seed 7
      200 runs, each with a kill -9; the same seed draws the same pipelines, kills and moments.
  python -m tests.chaos --lost 100
      each service loses its answer 100 times after it acted; prints the duplicates, with lists up to date and late.

Needs PostgreSQL's server (apt-get install postgresql), and Node.js for Azure ML, which is left out without it.
Exit code: 0 if nothing was doubled or lost, else 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    known = services()
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Runs pipelines on emulated clouds in a real Airflow on PostgreSQL, kills a worker, the triggerer "
        "or the scheduler once in the life of each run, and counts duplicate jobs, lost jobs and lost records.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="how many runs are killed")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what all chance is drawn from (default: 1)")
    parser.add_argument("--copies", type=int, default=2, metavar="N", help="pipelines of each service (default: 2)")
    parser.add_argument("--services", nargs="+", choices=known, default=known, metavar="NAME", help=" ".join(known))
    parser.add_argument("--lost", type=int, default=0, metavar="N", help="how many answers each service loses")
    parser.add_argument("--minutes", type=float, metavar="N", help="start no run later than this, count what there is")
    parser.add_argument("--folder", type=Path, help="where everything lives, and stays (default: a temporary folder)")
    given = parser.parse_args(arguments)
    if given.runs <= 0 and given.lost <= 0:
        parser.error("nothing to do: give --runs or --lost")
    began = time.monotonic()
    # Asked to end, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {text}", flush=True)

    folder = given.folder or Path(tempfile.mkdtemp(prefix="tidemill-chaos-"))
    bad = 0
    if given.lost:
        bad += lost.answers(folder, given.services, given.lost, say)
    if given.runs:
        outcome = chaos(folder, given.runs, given.seed, given.services, given.copies, say, minutes=given.minutes)
        tell(outcome, given.seed, say)
        bad += outcome.bad
    if given.folder is None and not bad:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        say(f"logs and stores: {folder}")
    return 1 if bad else 0


def tell(outcome: Outcome, seed: int, say: lost.Say) -> None:
    """Print what was counted, and each problem with its run."""
    found, lives = outcome.found, outcome.lives
    killed = [life for life in lives if life.killed is not None]
    states = Counter(life.state if life.state in {"success", "failed"} else "not ended" for life in lives)
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(life.planned.kind for life in killed).items()))
    rows = {
        "runs": len(lives),
        "killed": f"{len(killed)} ({kinds})",
        "servers started again": outcome.restarts,
        "tasks forgotten by Airflow's local executor": outcome.forgotten,
        "ended well": states["success"],
        "ended badly": states["failed"],
        "did not end": states["not ended"],
        "jobs in the services": found.jobs,
        "of them later attempts": ", ".join(f"{n} ({why})" for why, n in found.again.items()) or 0,
        "duplicate jobs": len(found.duplicates),
        "lost jobs": len(found.lost_jobs),
        "lost records": len(found.lost_records),
    }
    for name, value in rows.items():
        say(f"{name:44} {value}")
    bad_lives = [f"{life.state}: {life.told()}" for life in lives if life.state != "success"]
    for text in (*bad_lives, *found.duplicates, *found.lost_jobs, *found.lost_records):
        say(f"PROBLEM {text}")
    if outcome.bad:
        say(f"to repeat: python -m tests.chaos --runs {outcome.planned} --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
