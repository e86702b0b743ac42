"""The log with several writers at once, and a store whose responses get lost."""

from __future__ import annotations

import asyncio
from random import Random

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.errors import FenceError
from indigo_async.workflows.fence import log as fence_log
from indigo_async.workflows.fence.log import FenceLog, StoredObject
from indigo_async.workflows.fence.state import Entry, FenceState, PurchaseFacts


@attrs.define
class UnreliableStore:
    """A store in memory. Requests take turns at random, and some fail before or after they were carried out."""

    chance: Random
    failures: float = 0.0
    objects: dict[str, bytes] = attrs.Factory(dict)
    reads: int = 0
    label: str = "the fence"

    async def _pause(self, place: str) -> None:
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        if self.chance.random() < self.failures:
            raise FenceError(f"lost {place}")

    async def create(self, name: str, content: bytes) -> bool:
        await self._pause("before")
        created = name not in self.objects
        self.objects.setdefault(name, content)
        await self._pause("after")
        return created

    async def replace(self, name: str, content: bytes) -> None:
        await self._pause("before")
        self.objects[name] = content

    async def read(self, name: str) -> StoredObject | None:
        self.reads += 1
        await self._pause("before")
        return StoredObject(self.objects[name], 0.0) if name in self.objects else None

    async def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def close(self) -> None: ...


async def append(log: FenceLog, entry: Entry) -> fence_log.Replies:
    while True:
        try:
            return await log.append(entry)
        except FenceError:
            await asyncio.sleep(0)


def purchase(job: str) -> Entry:
    facts = PurchaseFacts(audience_id=1, export_id=f"export of {job}", cost_cents=10, field_types=())
    return Entry(id=f"buy {job}", owner="", limit_cents=100, intents={job: facts})


@given(st.integers(0, 2**32), st.integers(2, 5), st.sampled_from([0.0, 0.1, 0.4]))
def test_writers_at_once_agree_on_every_decision(seed: int, writers: int, failures: float):
    async def scenario() -> None:
        store = UnreliableStore(Random(seed), failures)
        granted: dict[str, list[str]] = {}

        async def write(owner: str) -> FenceLog:
            log = FenceLog(store)
            for job in map(str, range(12)):
                claimed = await append(log, Entry(id=f"{owner} claims {job}", owner=owner, claims=(job,)))
                if job in claimed.held:
                    continue
                wanted = attrs.evolve(purchase(job), id=f"{owner} buys {job}", owner=owner)
                if (await append(log, wanted)).grants[job].granted:
                    granted.setdefault(job, []).append(owner)
            return log

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(f"owner {number}")) for number in range(writers)]
        # The budget is for 10 of 12 jobs, and each has one owner.
        assert len(granted) == 10
        assert all(len(owners) == 1 for owners in granted.values())
        store.failures = 0.0
        for log in (task.result() for task in tasks):
            await log.read_new()
            replayed = FenceState()
            entries = [_decode(content) for name, content in sorted(store.objects.items()) if name.startswith("log/")]
            for entry in entries:
                replayed.apply(entry)
            assert log.state == replayed
            assert log.applied == len(entries) == len({entry.id for entry in entries})

    asyncio.run(scenario())


def _decode(content: bytes) -> Entry:
    entry = msgspec.json.decode(content, type=fence_log._Written).entry
    assert entry is not None
    return entry


async def test_opening_reads_a_snapshot_and_few_entries_however_long_the_log_is():
    store = UnreliableStore(Random(0))
    log = FenceLog(store)
    for number in range(1_050):
        await log.append(Entry(id=str(number), owner="a", claims=(str(number),)))
        await log.write_due_snapshot()
    store.reads = 0
    opened = FenceLog(store)
    await opened.open()
    assert opened.state == log.state
    assert store.reads < fence_log._ENTRIES_PER_SNAPSHOT + 2 * fence_log._MAX_CONCURRENT_READS


async def test_opening_makes_up_for_a_snapshot_that_a_killed_process_did_not_write():
    store = UnreliableStore(Random(0))
    log = FenceLog(store)
    for number in range(150):
        await log.append(Entry(id=str(number), owner="a"))
    opened = FenceLog(store)
    await opened.open()
    await opened.write_due_snapshot()
    store.reads = 0
    await FenceLog(store).open()
    assert store.reads <= 3


@pytest.mark.parametrize("name", ["log/00000001.json", "snapshot.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not what was written"),
        (b"\xff", "is not what was written"),
        (b'{"format": 1}', "is not what was written"),
        (b'{"format": 2, "entry": []}', "with another format"),
    ],
)
async def test_what_is_not_a_fence_is_refused(name: str, content: bytes, problem: str):
    store = UnreliableStore(Random(0), objects={name: content})
    with pytest.raises(FenceError, match=problem) as caught:
        await FenceLog(store).open()
    assert caught.value.permanent
