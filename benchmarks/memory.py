"""Measure the memory of a waiting job in a batch, excluding its own data.

    python -m benchmarks --only memory

A job's own data is the `AudienceJob` that the caller made and the audience record that the API returned. Everything
else is counted: the job's task, coroutines, wait and place in the batch. All jobs of a batch wait at the same time, for
each stage of the lite sandbox in turn. Python's allocations are traced, which slows the batch down.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from pathlib import Path

from benchmarks.polling import wait_for_rounds
from benchmarks.support.figures import Figure
from benchmarks.support.jobs import make_jobs
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient
from indigo_async.client import get_poller
from indigo_async.workflows import run_batch, start_batch

__all__ = ["measure"]

# The POST that starts each stage, in order. The last one only shows that its stage has not started.
_STAGE_POSTS = {
    "upload": "POST /upload_csv",
    "match": "POST /match_uploaded_csv",
    "lookalike": "POST /create_lookalike_audience",
    "preview": "POST /create_preview_csv_export",
}
_MEASURED_STAGES = list(_STAGE_POSTS)[:-1]


def traced() -> int:
    """The bytes in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def warm_up(folder: Path) -> None:
    """Import and build what exists once for any number of jobs."""
    with sandbox_process("--lite", "--speed", "200") as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.1) as client:
            report = await run_batch(client, list(make_jobs(10, folder)))
    assert report.failed == 0


async def open_connections(client: IndigoClient) -> None:
    """Open all connections: they belong to the client, whatever the number of jobs."""
    async with asyncio.TaskGroup() as group:
        for _ in range(500):
            group.create_task(client.list_audiences("nobody"))


async def record_bytes(client: IndigoClient) -> int:
    """The memory of the records of all jobs, decoded again."""
    before = traced()
    records = await client.list_audiences("customer-0")
    taken = traced() - before
    assert records
    return taken


async def waiting_jobs(count: int, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The bytes per job of its own data, and those above it, for each stage."""
    list(make_jobs(count, folder))  # grows Python's table of interned strings, which paths fill
    tracemalloc.start()
    before = traced()
    all_jobs = list(make_jobs(count, folder))
    jobs_own = traced() - before
    own: dict[str, float] = {}
    above: dict[str, float] = {}
    with sandbox_process("--lite") as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
            await open_connections(client)
            before, sent = traced(), client.transport.requests
            async with start_batch(client, all_jobs, max_in_flight=count):
                for stage, following in zip(_MEASURED_STAGES, list(_STAGE_POSTS)[1:], strict=True):
                    while sent[_STAGE_POSTS[stage]] < count:  # noqa: ASYNC110 - nothing signals that all have started
                        await asyncio.sleep(0.5)
                    await wait_for_rounds(get_poller(client), 1)
                    taken, records = traced() - before, await record_bytes(client)
                    own[stage] = (jobs_own + records) / count
                    above[stage] = (taken - records) / count
                    assert sent[following] == 0, "some jobs had stopped waiting"
    tracemalloc.stop()
    return own, above


def measure(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(warm_up(Path(folder)))
        own, above = asyncio.run(waiting_jobs(500 if quick else 4_000, Path(folder)))
    return [
        Figure(
            measure="memory of a waiting job, excluding its own data",
            value=max(above.values()) / 1024,
            unit="KiB",
            notes={f"KiB in {stage}": taken / 1024 for stage, taken in above.items()}
            | {f"KiB of its own data in {stage}": taken / 1024 for stage, taken in own.items()},
        )
    ]
