"""One shard of a batch in a separate process, to be killed or stopped. Prints its report as JSON at its end.

Usage: python -m tests.support.processes.sharded BASE_URL TOKEN JOBS FOLDER FENCE SHARD LEASE_SECONDS BUDGET_CENTS
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from indigo_async import IndigoClient, RetryPolicy
from indigo_async.workflows import run_batch
from tests.support.fences import shorten_leases
from tests.support.jobs import make_job


async def main(arguments: list[str]) -> None:
    base_url, token, count, folder, fence, shard, lease, budget = arguments
    shorten_leases(lease=float(lease))
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.01)
    jobs = [make_job(number, Path(folder), customer=f"c{number % 20}") for number in range(int(count))]
    limit = int(budget) if budget else None
    async with IndigoClient(token, base_url=base_url, retry=retry, poll_interval=0.02) as client:
        report = await run_batch(client, jobs, fence=fence, shard=shard, budget_cents=limit, max_in_flight=8)
    print(json.dumps(report.to_json()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
