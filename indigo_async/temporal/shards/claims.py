"""Claim the jobs of a shard, and find the results of those that others have finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import attrs
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.events import Stage
from indigo_async.temporal.budget_client import BudgetClient
from indigo_async.temporal.claims_client import claim_jobs
from indigo_async.temporal.failures import create_handover
from indigo_async.temporal.ids import parse_holder
from indigo_async.temporal.payloads import BeginRequest, Hold, JobInput, Turn
from indigo_async.temporal.shards.history import read_ends, read_shard
from indigo_async.temporal.shards.job_log import build_purchase_intent
from indigo_async.temporal.shards.payloads import JobEnd, unpack_jobs

__all__ = ["ClaimedJobs", "Clock", "claim_shard", "start_server_clock", "wait_for_holders"]

_MIN_WAIT_SECONDS = 2.0
_MAX_WAIT_SECONDS = 60.0
_DELAY_BETWEEN_CLAIMS = timedelta(seconds=1)
_MAX_SECONDS_UNAWARE = 60.0
"""How long a worker may not know that the workflow of a single job was terminated."""

_Ends: TypeAlias = Mapping[str, tuple[JobInput, JobEnd]]

Clock: TypeAlias = Callable[[], datetime]


@attrs.frozen(kw_only=True)
class ClaimedJobs:
    """The result of claiming jobs, by their references.

    `ends` has the jobs that another run has done with the same inputs and options. `known` has how far another run got
    that failed, or used the same inputs with other options. `held` has the jobs that others run now, by holder.
    """

    ends: Mapping[str, JobEnd]
    known: Mapping[str, JobEnd]
    held: Mapping[str, Sequence[str]]


def start_server_clock() -> Clock:
    """Start a clock with the time of Temporal's server in the current activity: this machine's may be wrong."""
    started_at, began_at = activity.info().started_time, time.monotonic()
    return lambda: started_at + timedelta(seconds=time.monotonic() - began_at)


async def claim_shard(
    temporal: Client, task_queue: str, holder: str, jobs: Mapping[str, JobInput], clock: Clock
) -> ClaimedJobs:
    """Claim the jobs that no other run holds. Jobs of holders that ended without releasing them are taken over.

    Raises:
        RPCError: Temporal could not be reached.
    """
    reply = await claim_jobs(temporal, task_queue, holder, jobs)
    abandoned: dict[str, tuple[JobInput, JobEnd]] = {}
    gone: list[str] = []
    for other, refs in reply.held.items():
        left = await _take_over(temporal, other, refs, clock)
        if left is not None:
            gone.append(other)
            abandoned |= left
    if gone:
        reply = await claim_jobs(temporal, task_queue, holder, jobs, gone=gone)
    ends: dict[str, JobEnd] = {}
    known: dict[str, JobEnd] = {}
    for finisher, refs in reply.finished.items():
        found = {} if finisher == holder else await read_ends(temporal, *parse_holder(finisher))
        for ref in refs:
            if ref not in found:
                continue
            job, end = found[ref]
            is_undisputed = Stage.PURCHASE not in abandoned[ref][1].intents if ref in abandoned else True
            if end.summary is not None and job.identity == jobs[ref].identity and is_undisputed:
                ends[ref] = attrs.evolve(end, recalled=True, spent_cents=0)
            _add_known(known, ref, jobs[ref], job, end)
    for ref, (job, end) in abandoned.items():
        _add_known(known, ref, jobs[ref], job, end)
    return ClaimedJobs(ends=ends, known=known, held=reply.held)


def _add_known(known: dict[str, JobEnd], ref: str, wanted: JobInput, job: JobInput, end: JobEnd) -> None:
    """Add what another run made from the same inputs, and the purchase whose outcome it does not know."""
    if not job.fingerprint or job.fingerprint != wanted.fingerprint:
        return
    before = known.get(ref, JobEnd())
    purchases = {stage: intent for stage, intent in end.intents.items() if stage == Stage.PURCHASE}
    known[ref] = JobEnd(facts=before.facts | end.facts, intents=before.intents | purchases)


async def _take_over(temporal: Client, holder: str, refs: Sequence[str], clock: Clock) -> _Ends | None:
    """Find out whether a holder has ended without releasing its jobs. Returns what is known about them; None if not.

    A worker may not know yet that its shard was terminated, so the ledger of that shard supersedes it first. What the
    jobs hold on that ledger may have been purchased.
    """
    try:
        described = await _handle_of(temporal, holder).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return {}
        raise
    if described.status is WorkflowExecutionStatus.RUNNING:
        return None
    ended_at = described.close_time or clock()
    record = await read_shard(temporal, *parse_holder(holder))
    if record is None:
        return {} if (clock() - ended_at).total_seconds() > _MAX_SECONDS_UNAWARE else None
    turn = Turn(shard=str(record.task.number), run=record.task.run_ms, attempt=int(ended_at.timestamp() * 1_000))
    held = {ref: job for ref, job in unpack_jobs(record.task.jobs) if ref in refs}
    ends: dict[str, tuple[JobInput, JobEnd]] = {}
    holds = await _begin(temporal, held, turn)
    for ref, job in held.items():
        end = record.ends.get(ref, JobEnd())
        hold = holds.get(ref)
        if hold is not None and job.export is not None:
            intent = build_purchase_intent(hold, job.export)
            end = attrs.evolve(end, intents=end.intents | {Stage.PURCHASE.value: intent})
        ends[ref] = job, end
    return ends


async def _begin(temporal: Client, jobs: Mapping[str, JobInput], turn: Turn) -> Mapping[str, Hold]:
    budget = next((job.budget for job in jobs.values()), None)
    if budget is None:
        return {}
    try:
        return (await BudgetClient().begin(temporal, budget, BeginRequest(turn=turn, jobs=tuple(jobs)))).holds
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:  # nobody can reserve a purchase there
            return {}
        raise


async def wait_for_holders(temporal: Client, holders: Iterable[str]) -> ApplicationError:
    """Wait until one of the workflows ends that hold jobs, or for a minute: it may release them earlier.

    Returns what to raise so that another attempt claims the jobs. In between, the holder gets a worker that is full.
    """
    await asyncio.sleep(_MIN_WAIT_SECONDS)  # one may have just been terminated
    waits = [asyncio.ensure_future(_wait_for_end(temporal, holder)) for holder in holders]
    try:
        await asyncio.wait(waits, timeout=_MAX_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
            await wait_shielded(wait)
    return create_handover("other workflows run these jobs now", delay=_DELAY_BETWEEN_CLAIMS)


async def _wait_for_end(temporal: Client, holder: str) -> None:
    with suppress(WorkflowFailureError, RPCError):
        await _handle_of(temporal, holder).result(follow_runs=False)


def _handle_of(temporal: Client, holder: str) -> WorkflowHandle[Any, Any]:
    workflow_id, run_id = parse_holder(holder)
    return temporal.get_workflow_handle(workflow_id, run_id=run_id)
