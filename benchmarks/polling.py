"""Measure what waits cost: requests, CPU, blocking of the event loop, and memory.

    python -m benchmarks --only polling

The client runs against a lite sandbox in a separate process, over loopback.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import msgspec

from benchmarks.sandbox_throughput import target_process as seeded_sandbox_process
from benchmarks.support.figures import Figure, spread
from benchmarks.support.sandbox_process import SandboxProcess, sandbox_process
from indigo_async import IndigoClient
from indigo_async._polling import Poller, RecordPart
from indigo_async._transport import codec
from indigo_async._transport.audience_list import ListReader
from indigo_async._transport.endpoints import LIST_AUDIENCES
from indigo_async.client import get_poller
from indigo_async.models import Audience, RecordId

CUSTOMER = "42"
ROUNDS = 5
CHUNK_BYTES = 64 * 1024
_TICK_SECONDS = 0.001


def is_ready(audience: Audience) -> Audience | None:
    upload = audience.uploaded_audience_csv
    return audience if upload is not None and upload.status == "READY_FOR_COLUMN_SELECTION" else None


def never_ready(_: Audience) -> None:
    return None


async def upload(client: IndigoClient) -> RecordId:
    stub = await client.upload_csv(customer_id=CUSTOMER, url="https://files.example.org/people.csv")
    return stub.id


async def run_concurrently(count: int, work: Callable[[], Awaitable[RecordId]], *, width: int = 64) -> list[RecordId]:
    """Run work `count` times, with `width` concurrent workers, and return the results."""
    remaining = iter(range(count))
    results: list[RecordId] = []

    async def worker() -> None:
        results.extend([await work() for _ in remaining])

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
    return results


@asynccontextmanager
async def open_waits(client: IndigoClient, ids: Sequence[RecordId], customer_id: str) -> AsyncGenerator[Poller]:
    """Wait for audiences inside the block."""
    poller = get_poller(client)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(poller.wait_until(audience_id, customer_id, never_ready, part=RecordPart.STATUS))
            for audience_id in ids
        ]
        await asyncio.sleep(0)  # they start
        try:
            yield poller
        finally:
            for task in tasks:
                task.cancel()


async def wait_for_rounds(poller: Poller, count: int) -> None:
    """Wait until the poller has read `count` more lists."""

    def lists() -> int:
        return poller.stats.requests.get("customer", 0)

    target = lists() + count
    while lists() < target:  # noqa: ASYNC110 - nothing signals a read, and the poller needs no hook for benchmarks
        await asyncio.sleep(0.1)


async def thousand_waits(count: int, intervals: int) -> Figure:
    """Uploads take 20 sandbox seconds; the speed makes that `intervals` poll intervals."""
    interval = 0.5
    with sandbox_process("--lite", "--speed", str(20 / (intervals * interval))) as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=interval) as client:

            async def job() -> RecordId:
                audience_id = await upload(client)
                await get_poller(client).wait_until(audience_id, CUSTOMER, is_ready, part=RecordPart.UPLOAD)
                return audience_id

            await run_concurrently(count, job, width=count)
            stats = get_poller(client).stats
        reads = {
            name: sum(statuses.values()) for name, statuses in sandbox.counts()["requests"].items() if "GET" in name
        }
    return Figure(
        measure=f"read requests for {count:,} uploads of one customer that take {intervals} intervals each",
        value=float(sum(reads.values())),
        at_most=2.0 * intervals,
        notes={
            "polls answered": float(stats.polls),
            "requests saved": float(stats.requests_saved),
            "hand-written": float(intervals * count),
        },
    )


async def one_round(sandbox: SandboxProcess, count: int, turns: int) -> list[Figure]:
    """Measure a round in which nothing changes: the CPU of this process, and the requests."""
    costs: list[float] = []
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=1.0) as client:
        ids = await run_concurrently(count, lambda: upload(client))
        requests = 0.0
        for _ in range(turns):
            gc.collect()
            async with open_waits(client, ids, CUSTOMER) as poller:
                await wait_for_rounds(poller, 2)
                before, sent = time.process_time(), client.transport.requests.total()
                await wait_for_rounds(poller, ROUNDS)
                costs.append((time.process_time() - before) / ROUNDS / count * 1e6)
                requests = (client.transport.requests.total() - sent) / ROUNDS
    return [
        Figure(
            measure=f"CPU per wait in a poll round for {count:,} waits of one customer",
            **spread(costs),
            unit="µs",
            at_most=3.0,
            notes={"ms of a round": statistics.median(costs) * count / 1e3},
        ),
        Figure(measure=f"requests per poll round for {count:,} waits of one customer", value=requests, at_most=1.0),
    ]


async def longest_block(rows: int, waits: int) -> list[Figure]:
    """Measure how long a task that wants to run every millisecond is blocked while a long list is read."""
    figures: list[Figure] = []
    with seeded_sandbox_process(rows) as target:
        base_url = f"http://127.0.0.1:{target.port}/api/v1"
        async with IndigoClient(target.token, base_url=base_url, poll_interval=1.0) as client:
            async with measuring_pauses() as idle:
                await asyncio.sleep(2)
            async with measuring_pauses() as pauses:
                ids = [audience.id for audience in await client.list_audiences("big")]
            figures.append(block_figure(f"`client.list_audiences` returns {rows:,} rows", pauses, idle, at_most=None))
            gc.collect()
            async with open_waits(client, ids[:waits], "big") as poller:
                for part in ("first read, watched rows decoded in full", "later reads"):
                    async with measuring_pauses() as pauses:
                        await wait_for_rounds(poller, 2)
                    during = f"{rows:,} rows are read for {waits:,} waits, {part}"
                    figures.append(block_figure(during, pauses, idle, at_most=20.0))
    return figures


@attrs.define
class Pauses:
    """How long the event loop was blocked, in seconds, once per pause.

    `thread` is the CPU of the event loop's thread. `process` is the CPU of all threads, so it includes the time for
    which another thread held Python's lock. `wall` also includes other programs on the machine.
    """

    thread: list[float] = attrs.Factory(list[float])
    process: list[float] = attrs.Factory(list[float])
    wall: list[float] = attrs.Factory(list[float])
    collections: list[float] = attrs.Factory(list[float])
    """The CPU of each garbage collection."""


def block_figure(during: str, pauses: Pauses, idle: Pauses, *, at_most: float | None) -> Figure:
    milliseconds = {
        name: max(values, default=0.0) * 1e3 for name, values in attrs.asdict(pauses, recurse=False).items()
    }
    return Figure(
        measure=f"longest event loop block while {during}",
        value=milliseconds["thread"],
        unit="ms",
        at_most=at_most,
        notes={
            "ms of CPU of all threads": milliseconds["process"],
            "ms by the clock": milliseconds["wall"],
            "ms by the clock when nothing is read": max(idle.wall) * 1e3,
            "ms of the longest garbage collection": milliseconds["collections"],
            "blocks of more than 10 ms of CPU": float(sum(block > 0.01 for block in pauses.thread)),
        },
    )


@asynccontextmanager
async def measuring_pauses() -> AsyncGenerator[Pauses]:
    """Measure how long the event loop is blocked, and for how long by the garbage collector."""
    pauses = Pauses()
    started_at = 0.0

    def collecting(phase: str, _: object) -> None:
        nonlocal started_at
        if phase == "start":
            started_at = time.thread_time()
        else:
            pauses.collections.append(time.thread_time() - started_at)

    async def tick() -> None:
        while True:
            thread, process, wall = time.thread_time(), time.process_time(), time.perf_counter()
            try:
                await asyncio.sleep(_TICK_SECONDS)
            finally:
                pauses.thread.append(time.thread_time() - thread)
                pauses.process.append(time.process_time() - process)
                pauses.wall.append(time.perf_counter() - wall - _TICK_SECONDS)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    gc.callbacks.append(collecting)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(collecting)
        ticker.cancel()
        await asyncio.wait([ticker])


async def memory(sandbox: SandboxProcess, count: int) -> Figure:
    """Measure the memory of a waiting task: its frame, its watch and the last record it saw."""
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=1.0) as client:
        ids = await run_concurrently(count, lambda: upload(client))
        async with open_waits(client, ids[:100], CUSTOMER) as poller:
            await wait_for_rounds(poller, 2)
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        idle = [asyncio.create_task(wait_for_nothing()) for _ in range(count)]
        await asyncio.sleep(0)
        gc.collect()
        bare = tracemalloc.get_traced_memory()[0] - before
        for task in idle:
            task.cancel()
        await asyncio.wait(idle)
        del idle
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        async with open_waits(client, ids, CUSTOMER) as poller:
            await asyncio.sleep(0)
            gc.collect()
            unseen = tracemalloc.get_traced_memory()[0] - before
            await wait_for_rounds(poller, 3)
            gc.collect()
            seen = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return Figure(
        measure="memory of a wait, including its task",
        value=unseen / count / 1024,
        unit="KiB",
        notes={
            "KiB with the last record seen": seen / count / 1024,
            "KiB of a bare task that waits for a future": bare / count / 1024,
        },
    )


async def wait_for_nothing() -> None:
    await asyncio.get_running_loop().create_future()


def row_costs(count: int) -> Figure:
    """Compare viewing the rows of a list with decoding them in full."""
    row = {
        "name": "Donors of the fall campaign",
        "status": "PROCESSING",
        "customerId": CUSTOMER,
        "uploadedAudienceCsv": {"status": "PROCESSING", "url": "https://files.example.org/" + "x" * 200},
        "csvExports": [{"id": "e", "status": "ACTIVE", "downloadUrl": "https://files.example.org/" + "x" * 150}],
        "notes": "x" * 300,
    }
    body = msgspec.json.encode([{"id": f"aud_{number}"} | row for number in range(count)])

    def view() -> None:
        reader = ListReader(LIST_AUDIENCES, lambda _: None, max_bytes=len(body), secrets="")
        for start in range(0, len(body), CHUNK_BYTES):
            reader.feed(body[start : start + CHUNK_BYTES])
        reader.finish()

    def full() -> None:
        codec.decode_audiences(codec.decode_document(body, "GET /audiences"), "GET /audiences")

    costs = {work.__name__: statistics.median(cpu_of(work) for _ in range(5)) / count * 1e6 for work in (view, full)}
    return Figure(
        measure=f"CPU to read a list row ({len(body) // count} bytes) as a view ÷ to decode it in full",
        value=costs["view"] / costs["full"],
        notes={"µs of a view": costs["view"], "µs in full": costs["full"]},
    )


def cpu_of(work: Callable[[], None]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(*, quick: bool) -> list[Figure]:
    waits, rows = (1_000, 10_000) if quick else (10_000, 100_000)
    figures = [row_costs(10_000), asyncio.run(thousand_waits(1_000, intervals=20))]
    with sandbox_process("--lite", "--speed", "0.001") as sandbox:
        figures += asyncio.run(one_round(sandbox, waits, turns=1 if quick else 5))
    figures += asyncio.run(longest_block(rows, waits))
    with sandbox_process("--lite", "--speed", "0.001") as sandbox:
        figures.append(asyncio.run(memory(sandbox, waits)))
    return figures
