"""What a job of a batch takes while it waits, above its own data.

    python -m benchmarks --only memory

Its own data are the `AudienceJob` with the values that it names, as the caller made them, and the records of its
audiences, as the API returned them: those are what it is about, and what it results in. What is measured is all that is
between: its task, its coroutines, its wait, its place in the batch. All jobs of a batch wait at once, for each stage of
the lite sandbox in turn; what Python allocated for them is traced, which slows the batch down.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from pathlib import Path

from benchmarks.batch import jobs
from benchmarks.polling import rounds
from benchmarks.support.figures import Figure
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient
from indigo_async._polling import get_poller
from indigo_async.workflows import run_batch, start_batch

__all__ = ["measure"]

# What each stage begins with, in order. The last is only to be seen not to have begun.
_STAGE_POSTS = {
    "upload": "POST /upload_csv",
    "match": "POST /match_uploaded_csv",
    "lookalike": "POST /create_lookalike_audience",
    "preview": "POST /create_preview_csv_export",
}
_MEASURED_STAGES = list(_STAGE_POSTS)[:-1]


def traced() -> int:
    """The bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def warm_up(folder: Path) -> None:
    """Import and build what is there once, however many jobs there are."""
    with sandbox_process("--lite", "--speed", "200") as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.1) as client:
            report = await run_batch(client, list(jobs(10, 1, folder)))
    assert report.failed == 0


async def open_connections(client: IndigoClient) -> None:
    """Have as many as there will be: they are the client's, however many jobs there are."""
    async with asyncio.TaskGroup() as group:
        for _ in range(500):
            group.create_task(client.list_audiences("nobody"))


async def record_bytes(client: IndigoClient) -> int:
    """What the records of all jobs take, decoded anew."""
    before = traced()
    records = await client.list_audiences("customer-0")
    taken = traced() - before
    assert records
    return taken


async def waiting_jobs(count: int, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The bytes of a job's own data, and those above it, in each stage that is waited for."""
    list(jobs(count, 1, folder))  # Python's table of interned texts, which paths fill, has grown then
    tracemalloc.start()
    before = traced()
    todo = list(jobs(count, 1, folder))
    jobs_own = traced() - before
    own: dict[str, float] = {}
    above: dict[str, float] = {}
    with sandbox_process("--lite") as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
            await open_connections(client)
            before, sent = traced(), client.transport.requests
            async with start_batch(client, todo, max_in_flight=count):
                for stage, following in zip(_MEASURED_STAGES, list(_STAGE_POSTS)[1:], strict=True):
                    while sent[_STAGE_POSTS[stage]] < count:  # noqa: ASYNC110 - nothing else tells when all have begun
                        await asyncio.sleep(0.5)
                    await rounds(get_poller(client), 1)
                    taken, records = traced() - before, await record_bytes(client)
                    own[stage] = (jobs_own + records) / count
                    above[stage] = (taken - records) / count
                    assert sent[following] == 0, "some jobs waited no longer"
    tracemalloc.stop()
    return own, above


def measure(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(warm_up(Path(folder)))
        own, above = asyncio.run(waiting_jobs(500 if quick else 4_000, Path(folder)))
    return [
        Figure(
            measure="memory of a waiting job above its own data",
            value=max(above.values()) / 1024,
            unit="KiB",
            at_most=3.2,
            notes={f"KiB in {stage}": taken / 1024 for stage, taken in above.items()}
            | {f"KiB of its own data in {stage}": taken / 1024 for stage, taken in own.items()},
        )
    ]
