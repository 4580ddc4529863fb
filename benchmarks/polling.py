"""What waiting for a thousand jobs costs a service: calls in a cycle of the one poll, against a call for each job.

    python benchmarks/polling.py                every service
    python benchmarks/polling.py vertex batch   some of them
    python benchmarks/polling.py --jobs 100     fewer jobs

The jobs are no-ops that are held running by the service's emulator (`tests/emulators`), which counts the calls. The
triggers share their poll by Airflow's own stream manager, as in one triggerer. The triggers of Airflow's providers ask
for each job by itself: as many calls a cycle as there are jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SERVICES = ("sagemaker", "batch", "vertex", "azureml", "kubernetes")
CYCLES = 5


def main() -> None:
    """Measure each service and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("services", nargs="*", default=SERVICES, help="which services")
    parser.add_argument("--jobs", type=int, default=1000, help="how many jobs wait")
    given = parser.parse_args()
    print(f"{given.jobs:,} jobs wait in one triggerer: calls in a cycle of the poll (mean of {CYCLES})")
    print(f"{'':14}{'calls':>8}{'of one each':>14}{'a cycle takes':>16}")
    for service in given.services:
        calls, seconds = measure(service, given.jobs)
        share = calls / given.jobs
        said = "reached" if share <= 0.02 else "MISSED"
        print(f"  {service:12}{calls:8.1f}{share:14.2%}{seconds:14.2f} s   (at most 2 %)   {said}", flush=True)


def measure(service: str, count: int) -> tuple[float, float]:
    """Calls of a cycle, and its seconds."""
    import yaml

    from tests.airflow_home import import_airflow
    from tests.emulators import start
    from tests.emulators.examples import PLATFORMS, TRAINS
    from tests.platforms import clouds

    import_airflow()
    from tidemill.airflow.connections import AirflowConnections
    from tidemill.platforms.cloud import Cloud
    from tidemill.spec.platform import Resources

    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        given = PLATFORMS["sagemaker" if service == "batch" else service]
        platform = clouds.platform_of(given)
        with start(platform.provider, Path(folder), given) as emulation:
            os.environ.update(emulation.environment)
            emulation.set_faults(hold=True, noop=True, start_delay=3600)
            cloud = Cloud(platform, service, AirflowConnections())
            resources = Resources.model_validate((yaml.safe_load(TRAINS[service]) or {}).get("resources", {}))
            changes = {"machine": resources.machine, "resources": resources}
            job = clouds.remote_job(platform, service, "job", **changes)
            refs = []
            for number in range(count):
                name = f"tm-a1b2c3d4-bench-{number}"
                tags = {**job.tags, "tidemill-job": name}
                refs.append(cloud.jobs.submit(_named(job, name, tags)))
                if sys.stderr.isatty():
                    print(f"  {service}: {number + 1:,} jobs submitted", end="\r", file=sys.stderr)
            return asyncio.run(_cycles(cloud, refs, lambda: sum(emulation.report()["calls"].values())))


def _named(job: Any, name: str, tags: dict[str, str]) -> Any:
    from dataclasses import replace

    return replace(job, name=name, tags=tags)


async def _cycles(cloud: Any, refs: list[Any], calls: Any) -> tuple[float, float]:
    """Wait for all jobs as a triggerer does; count from the second cycle on."""
    from airflow.triggers.shared_stream import SharedStreamManager

    from tidemill.airflow import triggers

    triggers._SOON = 0.1  # the pause between two cycles says nothing of what one costs
    manager = SharedStreamManager(max_subscriber_queue=1000)
    until = datetime.now(UTC) + timedelta(hours=1)
    waiting = [triggers.trigger_for(cloud, ref, until, None) for ref in refs]
    key = waiting[0].shared_stream_key()
    heard = asyncio.Queue[float]()

    async def listen(number: int, trigger: Any) -> None:
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        if number == 0:
            stream = _told(stream, heard)
        async for _ in trigger.filter_shared_stream(stream):
            raise RuntimeError("a job ended that was to be held")

    tasks = [asyncio.create_task(listen(n, trigger)) for n, trigger in enumerate(waiting)]
    await heard.get()
    before, began = calls(), time.monotonic()
    for _ in range(CYCLES):
        await heard.get()
    found = (calls() - before) / CYCLES, (time.monotonic() - began) / CYCLES
    for task in tasks:
        task.cancel()
    await manager.stop_all()
    return found


async def _told(stream: Any, heard: asyncio.Queue[float]) -> Any:
    async for item in stream:
        heard.put_nowait(time.monotonic())
        yield item


if __name__ == "__main__":
    main()
