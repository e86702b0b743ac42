"""One shard of a batch in a separate process, to be killed or stopped. Writes its report as JSON at its end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from indigo_async import IndigoClient, RetryPolicy
from indigo_async.workflows import run_batch
from tests.support.fences import shorten_leases
from tests.support.jobs import make_job


def write_report(path: Path, *arguments: Any) -> None:
    path.write_text(asyncio.run(run(*arguments)))


async def run(*arguments: Any) -> str:
    base_url, token, count, folder, fence, shard, lease, budget = arguments
    shorten_leases(lease=lease)
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.01)
    jobs = [make_job(number, folder, customer=f"c{number % 20}") for number in range(count)]
    async with IndigoClient(token, base_url=base_url, retry=retry, poll_interval=0.02) as client:
        report = await run_batch(client, jobs, fence=fence, shard=shard, budget_cents=budget, max_in_flight=8)
    return json.dumps(report.to_json())
