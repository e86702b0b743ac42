"""A batch in a separate process, to be killed. Prints its report as JSON if it reaches its end."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from indigo_async import IndigoClient, RetryPolicy
from indigo_async.workflows import run_batch
from tests.support.jobs import make_jobs


async def main(base_url: str, token: str, count: int, folder: Path, journal: Path | None) -> None:
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.01)
    async with IndigoClient(token, base_url=base_url, retry=retry, poll_interval=0.02) as client:
        report = await run_batch(client, make_jobs(count, folder), journal=journal)
    print(json.dumps(report.to_json()))


if __name__ == "__main__":
    base_url, token, count, folder, journal = sys.argv[1:]
    asyncio.run(main(base_url, token, int(count), Path(folder), Path(journal) if journal else None))
