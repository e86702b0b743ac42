"""Random schedules of outages, over real sockets in fast-forward: a batch that outlives them is done, paid for once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import attrs
import pytest

from indigo_async import IndigoClient
from indigo_async.sandbox import Dialect, Fault, FaultKind, Sandbox
from indigo_async.workflows import run_batch
from indigo_async.workflows.journal import Journal
from tests.chaos.invariants import client_tasks
from tests.support.fast_forward import FastForwardLoop, LoopClock
from tests.support.jobs import POSTS_PER_JOB, make_job
from tests.support.journals import spent_cents

JOBS = 20
ENDPOINTS = (*POSTS_PER_JOB, "GET /audience", "GET /audiences")
FAULTS: dict[str, Fault] = {
    "503": Fault(kind=FaultKind.ERROR_BEFORE, status=503),
    "500 although carried out": Fault(kind=FaultKind.ERROR_AFTER, status=500),
    "reset": Fault(kind=FaultKind.DISCONNECT_BEFORE),
    "reset although carried out": Fault(kind=FaultKind.DISCONNECT_AFTER),
    "no response": Fault(kind=FaultKind.DELAY_BEFORE, delay=60.0),
    "no response although carried out": Fault(kind=FaultKind.DELAY_AFTER, delay=60.0),
    "a maintenance page": Fault(kind=FaultKind.HTML_BEFORE),
    "a maintenance page although carried out": Fault(kind=FaultKind.HTML_AFTER),
    "cut off": Fault(kind=FaultKind.TRUNCATED_BODY),
}
SCHEDULES = 6


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": FastForwardLoop}


@attrs.frozen
class Outage:
    """After `gap` seconds, the server refuses all connections or has the fault, for `seconds`."""

    gap: float
    seconds: float
    kind: str


def draw_schedule(draw: random.Random) -> list[Outage]:
    """Long outages and short ones: few enough that no request meets one at each of its attempts."""
    return [
        Outage(
            gap=draw.choice([draw.uniform(0, 0.3), draw.uniform(0, 3), draw.uniform(0, 20)]),
            seconds=draw.choice([draw.uniform(0.05, 2), draw.uniform(1, 20), draw.uniform(20, 300)]),
            kind=draw.choice(["refused", *FAULTS]),
        )
        for _ in range(draw.randint(2, 4))
    ]


async def break_down(sandbox: Sandbox, schedule: list[Outage], latency: float) -> None:
    slow = [Fault(kind=FaultKind.DELAY_BEFORE, endpoint=name, delay=latency, times=None) for name in ENDPOINTS]
    for outage in schedule:
        sandbox.faults.add(*slow)
        await asyncio.sleep(outage.gap)
        sandbox.faults.clear()
        if outage.kind == "refused":
            async with sandbox.refuse_connections():
                await asyncio.sleep(outage.seconds)
        else:
            sandbox.faults.add(attrs.evolve(FAULTS[outage.kind], times=None))
            await asyncio.sleep(outage.seconds)
        sandbox.faults.clear()


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_a_batch_that_outlives_all_outages_is_done_and_paid_for_once(tmp_path: Path, seed: int):
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastForwardLoop)
    await loop.track_anyio_threads()
    tasks_before = client_tasks()
    draw = random.Random(seed)
    schedule = draw_schedule(draw)
    # A purchase may be carried out after its client has given up on it; no client can prevent a second charge then.
    repeated = "reject" if any(outage.kind == "no response" for outage in schedule) else "charge"
    dialect = Dialect(repeated_purchase=repeated, duplicate_names=draw.choice(["reject", "upsert"]))
    jobs = [make_job(number, tmp_path, customer=str(number % draw.choice([1, 3]))) for number in range(JOBS)]
    journal_path, budget = tmp_path / "run.sqlite", (JOBS + 1) * 1_000_000
    async with (
        Sandbox(lite=True, clock=LoopClock(loop), seed=seed, dialect=dialect) as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, timeout=20.0) as client,
    ):
        # Servers that have never answered may have the wrong address, and are not waited for in all cases.
        first = make_job(JOBS, tmp_path)
        assert (await run_batch(client, [first], journal=journal_path, budget_cents=budget)).done == 1
        outages = asyncio.create_task(break_down(sandbox, schedule, draw.choice([0.05, 0.3, 1.0])))
        await asyncio.sleep(0)
        report = await run_batch(client, jobs, journal=journal_path, budget_cents=budget)
        await outages
        counts = sandbox.counts()
    assert (report.done, report.failures) == (JOBS, ())
    assert counts.purchases == JOBS + 1
    assert max(counts.purchases_by_audience.values()) == 1
    assert all(count == 1 for (_, name), count in counts.audiences.items() if name is not None)
    async with Journal.open(journal_path) as journal:
        assert await spent_cents(journal) == counts.charged_cents
    assert (report.spent_cents, report.unresolved_cents) == (counts.charged_cents, 0)
    await asyncio.sleep(60)  # until the server has ended what was slow
    assert client_tasks() <= tasks_before
