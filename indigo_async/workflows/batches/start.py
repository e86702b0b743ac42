"""Many jobs at once, as one value and one await, or with their outcomes as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from indigo_async._transport.cancellation import run_in_thread, wait_shielded
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.events import Listener
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.workflows.batches.batch import Batch, BatchOptions, Jobs
from indigo_async.workflows.batches.conflicts import Conflicts, check_jobs, journal_files
from indigo_async.workflows.batches.report import BatchReport
from indigo_async.workflows.journal import Journal
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT

__all__ = ["Batch", "Jobs", "run_batch", "start_batch"]


@asynccontextmanager
async def start_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10_000,
    journal: Path | str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> AsyncGenerator[Batch]:
    """Start jobs, and iterate over the batch for their outcomes as they come.

    Jobs are read as room allows. Jobs in a list are all checked before anything is sent; jobs from an iterator are
    checked one by one, and a bad one fails alone. One job that fails never stops the others. Run again with the same
    jobs, a batch goes on where it was: what exists is adopted, nothing is bought twice.

    Args:
        client: an open client.
        jobs: any iterable or async iterable.
        max_in_flight: how many jobs are under way at most.
        journal: a file that remembers what was done, for this run and later ones; without it the server's records
            serve, and two processes running the same jobs could buy twice.
        budget_cents: the most that all runs with this journal (without one: this run) may spend; None leaves it to each
            job's `max_cost_cents`.
        purchase: False stops each job at its priced preview; a later run with leave buys those.
        publisher: puts local CSVs at URLs for as long as their matches need them.
        job_timeout: seconds for each job.
        stop_after_failures: admit no more jobs after that many failed; None never stops for failures.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent.
        JournalError: the journal cannot be used.
    """
    check = InputCheck()
    check.positive_integer("max_in_flight", max_in_flight)
    if budget_cents is not None:
        check.cents("budget_cents", budget_cents)
    if stop_after_failures is not None:
        check.positive_integer("stop_after_failures", stop_after_failures)
    check.seconds("job_timeout", job_timeout)
    if not isinstance(jobs, (Iterable, AsyncIterable)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add("jobs", f"must be an iterable of AudienceJobs, not {type(jobs).__name__}")
    check.raise_if_invalid()
    kept = journal_files(journal)
    if isinstance(jobs, Sequence):
        await run_in_thread(partial(check_jobs, jobs, publisher, kept))
    terms = BatchOptions(
        publisher=publisher,
        purchase=purchase,
        timeout=job_timeout,
        max_in_flight=max_in_flight,
        stop_after_failures=stop_after_failures,
        on_event=on_event,
    )
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(Journal.open(Path(journal))) if journal is not None else None
        spent = await opened.spent_cents() if opened is not None else 0
        own = await opened.batch_log() if opened is not None else None
        budget = Budget(budget_cents, spent)
        batch = Batch(
            client, terms, conflicts=Conflicts(reserved_files=kept), budget=budget, journal=opened, batch_log=own
        )
        all_jobs = asyncio.create_task(batch.run(jobs))
        try:
            yield batch
        finally:
            all_jobs.cancel()
            await wait_shielded(all_jobs)
            batch.close()
        if not all_jobs.cancelled():
            all_jobs.result()


async def run_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10_000,
    journal: Path | str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> BatchReport:
    """Run jobs to their ends and return the numbers; see `start_batch`, which also hands out each outcome."""
    async with start_batch(
        client,
        jobs,
        max_in_flight=max_in_flight,
        journal=journal,
        budget_cents=budget_cents,
        purchase=purchase,
        publisher=publisher,
        job_timeout=job_timeout,
        stop_after_failures=stop_after_failures,
        on_event=on_event,
    ) as batch:
        async for _ in batch:
            pass
        return batch.report()
