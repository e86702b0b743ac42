"""Run 10,000 concurrent jobs through all stages, against a lite sandbox in a separate process.

    python -m benchmarks.batch [--jobs 10000] [--customers 1] [--journal] [--memory]

Prints how long the batch took compared with a job's stage times (the lower bound) and the requests per job, and with
--memory, the memory per job. The stages of the sandbox last tens of seconds, at normal speed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import tempfile
import time
import tracemalloc
from pathlib import Path

from benchmarks.support.jobs import make_jobs
from benchmarks.support.sandbox_process import SandboxProcess, sandbox_process
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.sandbox import StageTimes
from indigo_async.workflows import BatchReport, start_batch


async def run(sandbox: SandboxProcess, arguments: argparse.Namespace, folder: Path) -> tuple[BatchReport, float]:
    """Return the report, and the peak KiB per job while all were in progress."""
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=RetryPolicy(timeout=600)) as client:
        await client.list_audiences("warm-up")
        gc.collect()
        if arguments.memory:
            tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        peak = 0.0
        async with start_batch(
            client,
            make_jobs(arguments.jobs, folder, customers=arguments.customers),
            max_in_flight=arguments.jobs,
            journal=folder / "run.sqlite" if arguments.journal else None,
        ) as batch:

            async def measure() -> None:
                nonlocal peak
                while True:
                    await asyncio.sleep(2)
                    gc.collect()
                    peak = max(peak, (tracemalloc.get_traced_memory()[0] - before) / arguments.jobs / 1024)

            watcher = asyncio.create_task(measure()) if arguments.memory else None
            async for outcome in batch:
                if outcome.error is not None:
                    print("failed:", outcome.job.key, type(outcome.error).__name__, outcome.error)
            if watcher is not None:
                watcher.cancel()
            return batch.report(), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--customers", type=int, default=1)
    parser.add_argument("--journal", action="store_true")
    parser.add_argument("--memory", action="store_true", help="trace memory, which slows everything down")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    stages = StageTimes()
    cpu = time.process_time()
    fastest = stages.upload + stages.match + stages.lookalike
    with tempfile.TemporaryDirectory() as folder, sandbox_process("--lite") as sandbox:
        report, peak = asyncio.run(run(sandbox, arguments, Path(folder)))
        cpu = time.process_time() - cpu
        requests = sum(report.requests.values())
        longest = sum(spent.longest_seconds for spent in report.stages.values())
        print(f"jobs done {report.done}, failed {report.failed}, journal {'yes' if arguments.journal else 'no'}")
        print(f"took {report.seconds:.1f} s, {cpu:.1f} s of CPU here")
        print(f"  {report.seconds / fastest:.2f} x the {fastest:.0f} s that the server takes for a job's stages")
        print(
            f"  {report.seconds / longest:.2f} x the {longest:.1f} s of the longest stages, requests and waits included"
        )
        print(f"requests per job {requests / arguments.jobs:.2f} (5 of them POSTs): {dict(report.requests)}")
        if arguments.memory:
            print(f"peak memory per job in progress {peak:.2f} KiB")
        for stage, spent in report.stages.items():
            mean = spent.total_seconds / spent.jobs
            print(f"  {stage:<10} {spent.jobs} jobs, mean {mean:.1f} s, longest {spent.longest_seconds:.1f} s")
        print(f"sandbox: {sandbox.counts()}")


if __name__ == "__main__":
    main()
