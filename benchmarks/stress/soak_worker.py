"""Run a batch that will be killed and restarted. Logs a sample every second, and the final report.

python -m benchmarks.stress.soak_worker BASE_URL TOKEN JOBS BUDGET_CENTS FOLDER
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, RetryPolicy
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep, start_batch

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))
CUSTOMERS = 7
MAX_IN_FLIGHT = 2_000
TIMEOUT = 2.0


def jobs(count: int, folder: Path) -> Iterator[AudienceJob]:
    """Every third job exports its matched audience, the others a lookalike."""
    for number in range(count):
        name = f"List {number}"
        yield AudienceJob(
            customer_id=f"customer-{number % CUSTOMERS}",
            audience_name=name,
            csv=f"https://files.example.org/{number}.csv",
            column_selections=COLUMNS,
            lookalike=LookalikeStep(audience_name=f"{name}, grown", size=2_000) if number % 3 else None,
            export=ExportStep(
                destination=folder / f"{number}.csv", optional_field_types=["phone"], max_cost_cents=8_000
            ),
        )


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def memory_kib() -> int:
    """The current memory of the process, or its peak if the system shows only that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


async def main(base_url: str, token: str, count: int, budget_cents: int, folder: Path) -> None:
    log = (folder / "worker.jsonl").open("a", buffering=1)
    retry = RetryPolicy(wait_initial=0.1, wait_max=2.0)

    def write(**facts: object) -> None:
        log.write(json.dumps(facts) + "\n")

    async def sample() -> None:
        while True:
            await asyncio.sleep(1)
            gc.collect()
            write(pid=os.getpid(), files=open_files(), memory_kib=memory_kib(), tasks=len(asyncio.all_tasks()))

    with log:
        async with IndigoClient(token, base_url=base_url, timeout=TIMEOUT, retry=retry, poll_interval=0.3) as client:
            sampling = asyncio.create_task(sample())
            async with start_batch(
                client,
                jobs(count, folder / "exports"),
                max_in_flight=MAX_IN_FLIGHT,
                journal=folder / "run.sqlite",
                budget_cents=budget_cents,
            ) as batch:
                async for _ in batch:
                    pass
                report = batch.report()
            sampling.cancel()
        write(report=report.to_json())


if __name__ == "__main__":
    logging.getLogger("indigo_async").setLevel(logging.ERROR)  # unknown statuses are expected here
    asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:5]), Path(sys.argv[5])))
