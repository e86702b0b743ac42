"""Measure what a fence costs: requests, objects and bytes per job, and the final state.

    python -m benchmarks.fence --shards 10 --jobs 10000 --seconds 120

Shards run in one process, with a store in memory that responds as slowly as a bucket. Each job reserves and settles one
purchase at a random time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter

import attrs

from indigo_async.events import Stage
from indigo_async.workflows.fence.fence import Fence
from indigo_async.workflows.fence.log import FenceLog, StoredObject
from indigo_async.workflows.recipes.context import NullJobLog
from indigo_async.workflows.sharding.split import job_ref

REQUEST_SECONDS = 0.03


@attrs.define
class CountingStore:
    """A bucket in memory."""

    label: str = "the fence"
    objects: dict[str, bytes] = attrs.Factory(dict[str, bytes])
    requests: Counter[str] = attrs.Factory(Counter[str])
    bytes_sent: int = 0
    bytes_read: int = 0

    async def create(self, name: str, content: bytes) -> bool:
        await self._count("create", content)
        created = name not in self.objects
        self.objects.setdefault(name, content)
        return created

    async def replace(self, name: str, content: bytes) -> None:
        await self._count("replace", content)
        self.objects[name] = content

    async def read(self, name: str) -> StoredObject | None:
        await self._count("read", b"")
        content = self.objects.get(name)
        self.bytes_read += len(content or b"")
        return None if content is None else StoredObject(content, time.time())

    async def delete(self, name: str) -> None:
        await self._count("delete", b"")
        self.objects.pop(name, None)

    def close(self) -> None: ...

    async def _count(self, request: str, content: bytes) -> None:
        self.requests[request] += 1
        self.bytes_sent += len(content)
        await asyncio.sleep(REQUEST_SECONDS)


async def run_shard(store: CountingStore, names: list[str], seconds: float, waits: list[float]) -> None:
    async with Fence.open_in(store, limit_cents=10**9) as fence:
        await fence.claim([job_ref("42", name) for name in names], seconds=60)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(purchase(fence, name, seconds, waits))


async def purchase(fence: Fence, name: str, seconds: float, waits: list[float]) -> None:
    await asyncio.sleep(random.random() * seconds)
    log = await fence.job_log("42", name, NullJobLog(), seconds=3_600)
    facts = {"audience_id": 123456, "export_id": f"export-{name}", "cost_cents": 800, "field_types": ["phone"]}
    started_at = time.perf_counter()
    await log.record_intent(Stage.PURCHASE, facts)
    await log.record_result(Stage.PURCHASE, facts)
    waits.append((time.perf_counter() - started_at) / 2)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    store, waits = CountingStore(), list[float]()
    cpu = time.process_time()
    names = [str(number) for number in range(options.jobs)]
    async with asyncio.TaskGroup() as group:
        for shard in range(options.shards):
            group.create_task(run_shard(store, names[shard :: options.shards], options.seconds, waits))
    cpu = time.process_time() - cpu
    jobs, entries = options.jobs, sum(name.startswith("log/") for name in store.objects)
    print(f"{options.shards} shards, {jobs:,} jobs in {options.seconds:.0f} s: {entries:,} entries")
    for kind, count in sorted(store.requests.items()):
        print(f"  {kind:8} {count:8,} requests, {count / jobs:6.3f} per job")
    print(f"  {store.bytes_sent / jobs:,.0f} bytes sent and {store.bytes_read / jobs:,.0f} read per job")
    print(
        f"  stored: {len(store.objects):,} objects, {sum(map(len, store.objects.values())) / jobs:,.0f} bytes per job"
    )
    waits.sort()
    print(f"  a booking took {waits[len(waits) // 2]:.2f} s (median), {waits[-1]:.2f} s (longest)")
    print(f"  CPU: {cpu / jobs * 1000:.2f} ms per job")
    store.requests.clear()
    started_at = time.perf_counter()
    await FenceLog(store).open()
    print(f"  opening: {store.requests.total()} requests, {time.perf_counter() - started_at:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
