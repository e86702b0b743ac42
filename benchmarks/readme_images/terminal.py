"""Make the README's image of `indigo-async run`, taken in the middle of a batch on a lite sandbox.

    python -m benchmarks.readme_images.terminal [--jobs 10000] [--folder docs/pictures]

`run.svg` shows a terminal of 100 columns.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import indigo_async.sandbox.sandbox as lite
from benchmarks.readme_images.report import FAULTS, SPEED, VariedEngine, jobs
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.cli.progress.display import render_svg
from indigo_async.cli.progress.tracker import ProgressSnapshot, ProgressTracker, planned_stages
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import Batch, start_batch

SHARE_DONE = 0.3


async def sample(progress: ProgressTracker, batch: Batch) -> None:
    """Take snapshots as a display would, so that rates are known."""
    while True:
        progress.snapshot(batch.report())
        await asyncio.sleep(0.5)


async def middle_of_a_batch(count: int, folder: Path) -> ProgressSnapshot:
    lite.LiteEngine = VariedEngine
    all_jobs = list(jobs(count, folder))
    plans = Counter(stage for job in all_jobs for stage in planned_stages(job, purchase=True))
    progress = ProgressTracker(name="voters-2026.yaml", total=count, purchase=True, planned=plans)
    async with Sandbox(lite=True, speed=SPEED) as sandbox:
        sandbox.faults.add(*FAULTS)
        async with (
            IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=RetryPolicy(timeout=600)) as client,
            start_batch(
                client,
                iter(all_jobs),
                max_in_flight=count // 3,
                journal=folder / "run.sqlite",
                budget_cents=300_000_000,
                on_event=progress.on_event,
            ) as batch,
        ):
            sampling = asyncio.create_task(sample(progress, batch))
            async for outcome in batch:
                progress.on_outcome(outcome)
                if batch.report().done >= SHARE_DONE * count:
                    break
            sampling.cancel()
            return progress.snapshot(batch.report())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        moment = asyncio.run(middle_of_a_batch(arguments.jobs, Path(scratch)))
    (arguments.folder / "run.svg").write_text(render_svg(moment))


if __name__ == "__main__":
    main()
