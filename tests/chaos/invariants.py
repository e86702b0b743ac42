"""What must hold in a world after every run, whatever happened in it, and when all is well again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from indigo_async._transport.cancellation import run_in_thread
from indigo_async.errors import (
    AudienceFailedError,
    BudgetExceededError,
    ExportExistsError,
    IndigoError,
    WorkflowError,
)
from indigo_async.sandbox import FaultKind
from indigo_async.workflows import AudienceJob, BatchReport
from indigo_async.workflows.journal import EntryKind, Journal, JournalRecord
from tests.chaos.world import RunResult, World, export_price_cents
from tests.support.journals import spent_cents

SERVER_SETTLE_SECONDS = 60.0
"""Seconds within which the server has noticed that a client is gone, and ended what was slow."""

_CHECKS = 200
_REAL_SECONDS = 4.0


def open_files() -> Counter[str]:
    """What the descriptors that this process has open stand for."""
    names: Counter[str] = Counter()
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(FileNotFoundError):  # it is closed meanwhile, as the folder's own is
            names[str(descriptor.readlink())] += 1
    return names


async def check_files_are_closed(open_before: Counter[str]) -> None:
    """Check that no more is open than before, once threads that still had a file in their hands are done with it."""
    for _ in range(_CHECKS):
        if open_files().total() <= open_before.total():
            return
        await run_in_thread(partial(time.sleep, _REAL_SECONDS / _CHECKS))
    raise AssertionError(f"no socket or file is left open: {open_files() - open_before}")


def client_tasks() -> set[str]:
    """What runs apart from the caller and the server."""
    files = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks() - {asyncio.current_task()}}
    servers = ("aiohttp/web_protocol.py", "indigo_async/sandbox/")
    return {
        task.get_name()
        for task, code in files.items()
        if code is None or not any(part in code.co_filename for part in servers)
    }


async def check_run(world: World, ran: RunResult, *, open_before: Counter[str]) -> None:
    """Check what must hold after any run."""
    _check_job_results(world, ran)
    _check_created_and_purchased_once(world)
    _check_money(world, ran)
    await _check_journal(world)
    await asyncio.sleep(SERVER_SETTLE_SECONDS)
    assert not client_tasks(), "no task is left"
    await check_files_are_closed(open_before)
    assert not world.loop_errors, world.loop_errors
    _check_files(world)


def _check_job_results(world: World, ran: RunResult) -> None:
    if not ran.interrupted:
        assert set(ran.job_errors) == {job.key for job in world.jobs()}, "every job ends"
    for error in ran.job_errors.values():
        if error is not None:
            assert isinstance(error, IndigoError), repr(error)
            assert str(error), "an error says why"
    if ran.report is not None:
        failed = [error for error in ran.job_errors.values() if error is not None]
        assert (ran.report.done, ran.report.failed) == (len(ran.job_errors) - len(failed), len(failed))


def _check_created_and_purchased_once(world: World) -> None:
    counts = world.sandbox.counts()
    named = {key: count for key, count in counts.audiences.items() if key[1] is not None}
    assert all(count == 1 for count in named.values()), named
    assert len(counts.purchases_by_audience) <= len(world.spec.jobs)
    # One that failed at the server and cost nothing may be made again; the check of the money sees that it was free.
    failed, late = _failed_purchases(world), _abandoned_purchases(world)
    purchased = {audience: count for audience, count in counts.purchases_by_audience.items() if count != 1}
    assert all(count <= 1 + failed[audience] + late[audience] for audience, count in purchased.items()), purchased


def _failed_purchases(world: World) -> Counter[str | None]:
    """How many purchases were carried out and then failed at the server, by audience."""
    return Counter(
        entry.audience_id
        for entry in world.log.find(endpoint="POST /purchase_csv_export")
        if entry.fault is FaultKind.STAGE_FAILS and entry.carried_out
    )


def _abandoned_purchases(world: World) -> Counter[str | None]:
    """How many purchases were carried out after their client had given up on them, by audience.

    A server that charges each purchase of the same export then charges twice, which no client can prevent.
    """
    if world.spec.dialect.repeated_purchase == "reject":
        return Counter()
    purchases = world.log.find(endpoint="POST /purchase_csv_export")
    return Counter(entry.audience_id for entry in purchases if entry.fault is FaultKind.DELAY_BEFORE)


def _check_money(world: World, ran: RunResult) -> None:
    counts, budget = world.sandbox.counts(), world.spec.budget_cents
    if budget is not None and world.spec.journal:
        assert counts.charged_cents <= budget, "a budget holds for all runs with a journal"
    elif budget is not None and ran.report is not None:
        assert ran.charged_cents <= budget
    # With no journal, and no status of exports at the server either, nobody can know that one was purchased and failed.
    is_blind = not world.spec.journal and not world.spec.dialect.shows_export_status
    times = 1 + (_failed_purchases(world).total() if is_blind else 0) + _abandoned_purchases(world).total()
    prices = sum(export_price_cents(job) for job in world.spec.jobs if job.may_purchase)
    assert counts.charged_cents <= times * prices, "each is paid once"


async def _check_journal(world: World) -> None:
    """The journal and the server agree on what was purchased, except for unknown outcomes."""
    if world.journal is None or not world.journal.exists():
        return
    async with Journal.open(world.journal) as journal:
        spent = await spent_cents(journal)
        records = [record async for record in journal.records() if record.stage == "purchase"]
    counts = world.sandbox.counts()
    intended = {str(record.facts["export_id"]) for record in records if record.kind is EntryKind.INTENT}
    results = {str(record.facts["export_id"]) for record in records if record.kind is EntryKind.RESULT}
    purchased = {str(export) for export in counts.purchases_by_export}
    assert purchased <= intended, "an intent is on disk before each purchase"
    assert results <= purchased, "recorded purchases were made"
    assert spent <= counts.charged_cents + _reserved_cents(records)
    assert counts.charged_cents <= spent or _abandoned_purchases(world)


def _reserved_cents(records: list[JournalRecord]) -> int:
    """The cost of purchases with an open intent."""
    open_intents: dict[str, list[int]] = {}
    for record in records:
        intents = open_intents.setdefault(str(record.facts["export_id"]), [])
        match record.kind:
            case EntryKind.INTENT:
                intents.append(record.facts["cost_cents"])
            case EntryKind.WITHDRAWAL:
                intents.pop()
            case EntryKind.RESULT:
                intents.clear()
    return sum(max(intents, default=0) for intents in open_intents.values())


def _check_files(world: World) -> None:
    """No half a file is where a whole one is expected; what a broken download left waits for the next one, hidden."""
    found = _export_files(world)
    targets = {Path(job.export.destination).name for job in world.jobs() if job.export}
    parts = {f".{name}{kind}" for name in targets for kind in (".part", ".part.json")}
    assert {path.name for path in found} <= targets | parts
    whole = [path for path in found if path.name in targets]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in whole}) <= 1, "the sandbox has one CSV for all"
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in found)


def _export_files(world: World) -> list[Path]:
    return [path for path in world.exports.rglob("*") if path.is_file()] if world.exports.exists() else []


def check_last_run(world: World, ran: RunResult) -> None:
    """Check an uninterrupted batch that may purchase: everything possible is done."""
    assert ran.report is not None
    doomed = {
        str(entry.audience_id)
        for entry in world.log.entries
        if entry.fault is FaultKind.STAGE_FAILS and entry.carried_out and entry.endpoint != "POST /upload_csv"
    }
    for job in world.jobs():
        error = ran.job_errors[job.key]
        if error is None:
            assert job.export is None or _is_whole(Path(job.export.destination))
            continue
        named = error.audience if isinstance(error, WorkflowError) else None
        is_doomed = (ran.audience_ids[job.key] if named is None else str(named.id)) in doomed
        says_failed = isinstance(error, (AudienceFailedError, ExportExistsError))
        # Where the server shows no status of exports, nobody can know that one failed.
        explained = (isinstance(error, BudgetExceededError) and _is_over_limit(job, error, ran.report)) or (
            is_doomed and (says_failed or not world.spec.dialect.shows_export_status)
        )
        assert explained, f"{job.key}: {error!r}"


def _is_whole(destination: Path) -> bool:
    """Whether a download is done, with nothing left of it but its file."""
    left = [path for path in destination.parent.iterdir() if path.name.startswith(f".{destination.name}.")]
    return destination.exists() and not left


def _is_over_limit(job: AudienceJob, error: BudgetExceededError, report: BatchReport) -> bool:
    """Whether the job's own limit, or what is left of the budget, is really below the price."""
    assert job.export is not None
    assert error.export is not None
    assert error.export.cost_cents is not None
    limit = job.export.max_cost_cents
    if report.budget_cents is not None:
        limit = min(limit, report.budget_cents - report.spent_cents - report.unresolved_cents)
    return error.export.cost_cents > limit
