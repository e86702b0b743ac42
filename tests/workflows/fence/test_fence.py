"""Runs that share a fence, in one process: each has its own owner, as on its own machine."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args, get_type_hints

import attrs
import pytest

from indigo_async import IndigoClient
from indigo_async.errors import (
    BudgetExceededError,
    FenceError,
    FenceInUseError,
    FenceLostError,
    InvalidInputError,
    PurchaseInDoubtError,
)
from indigo_async.events import Stage
from indigo_async.sandbox import Dialect, Sandbox
from indigo_async.workflows import OutcomeRow, read_journal, run_batch, start_batch, sum_purchases
from indigo_async.workflows.fence import fence as fence_module
from indigo_async.workflows.fence import leases as fence_leases
from indigo_async.workflows.fence.fence import Fence
from indigo_async.workflows.fence.job_log import FencedJobLog
from indigo_async.workflows.fence.state import PurchaseFacts
from indigo_async.workflows.fence.stores import FolderStore
from indigo_async.workflows.recipes.context import NullJobLog
from indigo_async.workflows.sharding.split import job_ref
from tests.support.fences import abandon, read_entries
from tests.support.jobs import count_posts, lite_sandbox, make_client, make_job, make_jobs
from tests.support.servers.s3 import Bucket

PRICE = 8_000
FACTS = {"audience_id": 5, "export_id": "7", "cost_cents": 100, "field_types": ["phone"]}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with lite_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[IndigoClient]:
    async with make_client(sandbox) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fence = tmp_path / "fence"
    fence.mkdir()
    return fence


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence_leases, "_RENEW_SECONDS", 0.05)
    monkeypatch.setattr(fence_leases, "_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(fence_leases, "_LEASE_SECONDS", 2.0)


@asynccontextmanager
async def open_fence(client: IndigoClient, folder: Path, *, limit_cents: int | None = None) -> AsyncIterator[Fence]:
    url, proxies = client.settings.base_url, client.transport.http.proxies
    async with Fence.open(folder, base_url=url, limit_cents=limit_cents, proxies=proxies) as fence:
        yield fence


async def claim(fence: Fence, name: str = "List 0", *, seconds: float = 30.0) -> FencedJobLog:
    return await fence.job_log("42", name, NullJobLog(), seconds=seconds)


@pytest.mark.usefixtures("short_leases")
async def test_a_job_has_one_owner_until_that_run_ends(client: IndigoClient, folder: Path):
    async with open_fence(client, folder) as first:
        await claim(first)
        async with open_fence(client, folder) as second:
            with pytest.raises(FenceInUseError, match=r"and is alive \(process \d+ on .+\)\. Nothing was sent"):
                await claim(second)
            await claim(second, "List 1")
    async with open_fence(client, folder) as third:
        await claim(third)
        await claim(third, "List 1")


@pytest.mark.usefixtures("short_leases")
async def test_a_job_of_a_killed_run_is_taken_over_with_what_it_did(
    client: IndigoClient, folder: Path, caplog: pytest.LogCaptureFixture
):
    async with open_fence(client, folder) as first:
        await (await claim(first)).record_intent(Stage.PURCHASE, FACTS | {"path": "not stored"})
        await (await claim(first, "List 1")).record_result(Stage.PURCHASE, FACTS | {"export_id": "8"})
        abandon(first)
    async with open_fence(client, folder) as second:
        with caplog.at_level(logging.WARNING):
            log = await claim(second)
        assert "to see whether it is alive" in caplog.text
        assert (log.result(Stage.PURCHASE), log.open_intent(Stage.PURCHASE)) == (None, FACTS)
        assert second.spent_cents == 100
        await log.record_intent(Stage.PURCHASE, FACTS)
        await log.record_result(Stage.PURCHASE, FACTS | {"cost_cents": 90})
        assert (log.result(Stage.PURCHASE), log.open_intent(Stage.PURCHASE)) == (FACTS | {"cost_cents": 90}, None)
        assert second.spent_cents == 90
        assert (await claim(second, "List 1")).result(Stage.PURCHASE) == FACTS | {"export_id": "8"}


async def test_a_run_that_was_taken_over_reserves_nothing_more(client: IndigoClient, folder: Path):
    async with open_fence(client, folder) as first:
        log, other = await claim(first), await claim(first, "List 1")
        await log.record_intent(Stage.PURCHASE, FACTS)
        await first._leases.end()
        async with open_fence(client, folder) as second:
            taken = await claim(second)
            with pytest.raises(FenceLostError, match="another run took over this job"):
                await other.record_intent(Stage.PURCHASE, FACTS | {"export_id": "8"})
            await log.cancel_intent(Stage.PURCHASE)
            assert second._log.state.intents  # only the new owner can withdraw it
            # A purchase that was made before is recorded, whoever made it.
            await log.record_result(Stage.PURCHASE, FACTS)
            await taken.record_result(Stage.PURCHASE, FACTS)
            await second._log.read_new()
            assert second.spent_cents == 100
        abandon(first)


async def test_the_budget_and_an_unresolved_purchase_refuse_others(client: IndigoClient, folder: Path):
    async with open_fence(client, folder, limit_cents=150) as fence:
        log = await claim(fence)
        await log.record_intent(Stage.PURCHASE, FACTS)
        with pytest.raises(PurchaseInDoubtError, match="export 7 may have been purchased for this job"):
            await log.record_intent(Stage.PURCHASE, FACTS | {"export_id": "9"})
        other = await claim(fence, "List 1")
        with pytest.raises(BudgetExceededError, match=r"costs \$1\.00, and \$0\.50 is left of the budget of all runs"):
            await other.record_intent(Stage.PURCHASE, FACTS | {"export_id": "8"})
        await other.cancel_intent(Stage.PURCHASE)  # as the purchase guard does after a refusal
        await log.cancel_intent(Stage.PURCHASE)
        await other.record_intent(Stage.PURCHASE, FACTS | {"export_id": "8"})
        assert fence.spent_cents == 100


async def test_a_charge_is_recorded_although_the_job_ran_out_of_time(client: IndigoClient, folder: Path):
    ref, facts = job_ref("42", "List 0"), PurchaseFacts.from_facts(FACTS)
    async with open_fence(client, folder) as fence:
        await claim(fence)
        await fence.reserve(ref, facts, math.inf)
        await fence.settle(ref, facts, 0.0)
        await fence.reserve(ref, attrs.evolve(facts, export_id="8"), math.inf)
        await fence.withdraw(ref, 0.0)
    async with open_fence(client, folder) as other:
        log = await claim(other)
        assert (log.result(Stage.PURCHASE), log.open_intent(Stage.PURCHASE), other.spent_cents) == (FACTS, None, 100)


async def test_each_server_has_its_own_part_of_a_fence(client: IndigoClient, folder: Path):
    async with open_fence(client, folder) as fence:
        await (await claim(fence)).record_result(Stage.PURCHASE, FACTS)
    proxies = client.transport.http.proxies
    async with Fence.open(folder, base_url="https://example.org", limit_cents=None, proxies=proxies) as other:
        assert (await claim(other)).result(Stage.PURCHASE) is None


async def test_shards_with_a_bucket_purchase_each_job_once_within_the_budget_of_all(
    sandbox: Sandbox, bucket: Bucket, tmp_path: Path
):
    jobs = [make_job(number, tmp_path, customer=f"c{number}") for number in range(24)]

    async def run(shard: str, budget_cents: int):
        async with make_client(sandbox) as own:
            return await run_batch(own, jobs, fence=bucket.make_store("fences"), shard=shard, budget_cents=budget_cents)

    reports = await asyncio.gather(*(run(f"{number}/4", 15 * PRICE) for number in (1, 2, 3, 4)))
    counts = sandbox.counts()
    assert (counts.purchases, counts.charged_cents) == (15, 15 * PRICE)
    assert sum(report.done for report in reports) == 15
    assert {error for report in reports for error in report.failed_by_error} == {"BudgetExceededError"}
    reports = await asyncio.gather(*(run(f"{number}/3", 24 * PRICE) for number in (1, 2, 3)))
    assert sum(report.done for report in reports) == 24
    assert sum(report.spent_cents for report in reports) == 9 * PRICE
    assert max(report.fence_spent_cents or 0 for report in reports) == 24 * PRICE
    assert set(sandbox.counts().purchases_by_audience.values()) == {1}
    assert all(name.startswith("fences/") for name in bucket.objects)


async def test_a_run_on_another_machine_has_its_own_journal_and_purchases_nothing_again(
    sandbox: Sandbox, client: IndigoClient, folder: Path, tmp_path: Path
):
    jobs = make_jobs(6, tmp_path)
    first = await run_batch(client, jobs, fence=folder, journal=tmp_path / "first.journal")
    async with make_client(sandbox) as other:
        second = await run_batch(other, jobs, fence=folder, journal=tmp_path / "second.journal")
    assert (first.spent_cents, second.spent_cents, second.done) == (6 * PRICE, 0, 6)
    assert (second.fence_spent_cents, sandbox.counts().purchases) == (6 * PRICE, 6)
    rows = await asyncio.to_thread(lambda: list(read_journal(tmp_path / "first.journal")))
    assert sum_purchases(rows).charged_cents == 6 * PRICE
    assert {row.audience_name for row in rows if isinstance(row, OutcomeRow)} == {job.audience_name for job in jobs}


async def test_a_fence_stores_neither_names_nor_urls_nor_paths(client: IndigoClient, folder: Path, tmp_path: Path):
    job = make_job(0, tmp_path, customer="Friends of Ann")
    await run_batch(client, [job], fence=folder)
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b'"export_id"' in stored
    for private in (b"List", b"Ann", b"http", b"/", b"First"):
        assert private not in stored


async def test_the_jobs_of_a_list_are_claimed_before_any_starts(client: IndigoClient, folder: Path, tmp_path: Path):
    jobs = make_jobs(30, tmp_path)
    await run_batch(client, jobs, fence=folder, max_in_flight=2)
    entries = read_entries(folder)
    assert [len(entry.claims) for entry in entries if entry.claims] == [30]
    assert entries[-1].leaves
    await run_batch(client, iter(jobs), fence=folder, max_in_flight=2)
    assert sum(len(entry.claims) for entry in read_entries(folder)) == 60


async def test_a_short_outage_of_the_fence_fails_no_job(
    client: IndigoClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    create, failures = FolderStore.create, 0

    async def fail_often(store: FolderStore, name: str, content: bytes) -> bool:
        nonlocal failures
        if failures < 6 and name.startswith("log/"):
            failures += 1
            if failures % 2:
                await create(store, name, content)  # only the response is lost
            raise FenceError("the fence is away")
        return await create(store, name, content)

    monkeypatch.setattr(FolderStore, "create", fail_often)
    monkeypatch.setattr(fence_module, "_WAIT_INITIAL", 0.01)
    report = await run_batch(client, make_jobs(8, tmp_path), fence=folder)
    assert (report.done, report.failed, failures) == (8, 0, 6)
    assert report.fence_spent_cents == report.spent_cents == 8 * PRICE


async def test_nothing_is_purchased_when_the_fence_can_not_be_used(
    client: IndigoClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fail_from_the_second_entry(monkeypatch, FenceError("the fence is full", permanent=True))
    report = await run_batch(client, make_jobs(8, tmp_path), fence=folder)
    assert "POST /purchase_csv_export" not in report.requests
    assert report.failed_by_error["FenceError"] > 0
    assert report.stopped == "the fence is full"


async def test_a_job_waits_for_a_fence_that_is_away_until_its_own_deadline(
    client: IndigoClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fail_from_the_second_entry(monkeypatch, FenceError("the fence is away"))
    report = await run_batch(client, make_jobs(8, tmp_path), fence=folder, job_timeout=2)
    assert "POST /purchase_csv_export" not in report.requests
    assert (report.failed, report.failed_by_error["WaitTimeoutError"] > 0) == (8, True)


def fail_from_the_second_entry(monkeypatch: pytest.MonkeyPatch, error: FenceError) -> asyncio.Event:
    """Let the log take the entry that claims the jobs, and none after it. Returns an event: an entry was refused."""
    create, has_failed = FolderStore.create, asyncio.Event()

    async def fail_later(store: FolderStore, name: str, content: bytes) -> bool:
        if name > "log/00000001.json" and name.startswith("log/"):
            has_failed.set()
            raise copy.copy(error)
        return await create(store, name, content)

    monkeypatch.setattr(FolderStore, "create", fail_later)
    monkeypatch.setattr(fence_module, "_CLOSE_SECONDS", 0.2)
    return has_failed


async def test_leaving_a_batch_waits_only_shortly_for_a_fence_that_is_away(
    client: IndigoClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    is_away = fail_from_the_second_entry(monkeypatch, FenceError("the fence is away"))
    async with asyncio.timeout(30):
        async with start_batch(client, make_jobs(3, tmp_path), fence=folder) as batch:
            await is_away.wait()
    assert batch.report().spent_cents == 0


async def test_a_shard_that_may_purchase_needs_a_fence(
    sandbox: Sandbox, client: IndigoClient, folder: Path, tmp_path: Path
):
    jobs = [make_job(number, tmp_path, customer=f"c{number}") for number in range(6)]
    with pytest.raises(InvalidInputError, match="shard: needs a fence to purchase anything"):
        await run_batch(client, jobs, shard="1/2")
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0", 3, "1/1000000000000"):
        with pytest.raises(InvalidInputError, match="shard: must be the number of a shard and how many there are"):
            await run_batch(client, jobs, shard=wrong, fence=folder)  # type: ignore[arg-type]
    assert sandbox.log.count() == 0
    reports = [await run_batch(client, iter(jobs), shard=f"{number}/2", purchase=False) for number in (1, 2)]
    assert [report.done for report in reports] == [6 - reports[1].done, 6 - reports[0].done]
    assert count_posts(sandbox) == 6 * 4


async def test_a_shard_without_jobs_succeeds(client: IndigoClient, folder: Path, tmp_path: Path):
    jobs = make_jobs(3, tmp_path)  # of one customer
    reports = [await run_batch(client, jobs, shard=f"{number}/5", fence=folder) for number in range(1, 6)]
    assert sorted(report.done for report in reports) == [0, 0, 0, 0, 3]
    assert all((report.failed, report.stopped) == (0, None) for report in reports)


async def test_all_jobs_are_checked_in_each_shard(client: IndigoClient, folder: Path, tmp_path: Path):
    jobs = [make_job(0, tmp_path, customer="a"), make_job(0, tmp_path, customer="b")]  # two jobs write one file
    for number in range(1, 4):
        with pytest.raises(InvalidInputError, match="is written by another job"):
            await run_batch(client, jobs, shard=f"{number}/3", fence=folder)


def test_the_types_of_a_fence_can_be_read_at_run_time():
    assert Path in get_args(get_type_hints(run_batch)["fence"])


async def test_a_fence_may_be_added_to_a_batch_that_had_only_a_journal(
    sandbox: Sandbox, client: IndigoClient, folder: Path, tmp_path: Path
):
    jobs, journal = make_jobs(4, tmp_path), tmp_path / "run.journal"
    await run_batch(client, jobs[:3], journal=journal)
    report = await run_batch(client, jobs, journal=journal, fence=folder)
    assert (report.done, report.spent_cents, report.fence_spent_cents) == (4, 4 * PRICE, PRICE)
    assert sandbox.counts().purchases == 4


async def test_a_lost_journal_and_a_server_that_hides_field_types_cost_nothing_with_a_fence(
    folder: Path, tmp_path: Path
):
    async with lite_sandbox(dialect=Dialect(shows_field_types=False)) as sandbox, make_client(sandbox) as client:
        jobs = make_jobs(3, tmp_path)
        await run_batch(client, jobs, fence=folder)
        for one in tmp_path.glob("*.csv"):
            one.unlink()
        async with make_client(sandbox) as other:
            report = await run_batch(other, jobs, fence=folder)
        assert (report.done, report.failed, sandbox.counts().purchases) == (3, 0, 3)
        async with make_client(sandbox) as other:
            without = await run_batch(other, jobs)
        assert without.failed_by_error == {"ExportExistsError": 3}
