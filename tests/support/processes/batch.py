"""A batch in a separate process, to be killed. Prints or writes its report as JSON if it reaches its end."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from indigo_async import IndigoClient, RetryPolicy
from indigo_async.workflows import run_batch
from tests.support.jobs import make_jobs


async def run(
    base_url: str, token: str, count: int, folder: Path, journal: Path | None, *, max_in_flight: int = 10_000
) -> str:
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.01)
    async with IndigoClient(token, base_url=base_url, retry=retry, poll_interval=0.02) as client:
        report = await run_batch(client, make_jobs(count, folder), journal=journal, max_in_flight=max_in_flight)
    return json.dumps(report.to_json())


def write_report(path: Path, *arguments: Any) -> None:
    path.write_text(asyncio.run(run(*arguments)))


if __name__ == "__main__":
    base_url, token, count, folder, journal, *limit = sys.argv[1:]
    options = {"max_in_flight": int(limit[0])} if limit else {}
    print(asyncio.run(run(base_url, token, int(count), Path(folder), Path(journal) if journal else None, **options)))
