"""Claim the jobs of a shard, and find the results of those that others have finished."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.events import Stage
from indigo_async.temporal.claims_client import claim_jobs
from indigo_async.temporal.ids import parse_holder
from indigo_async.temporal.payloads import JobInput
from indigo_async.temporal.shard_history import read_ends
from indigo_async.temporal.shard_payloads import JobEnd

__all__ = ["ClaimedJobs", "claim_shard", "wait_for_holders"]

_MAX_WAIT_SECONDS = 60.0


@attrs.frozen(kw_only=True)
class ClaimedJobs:
    """What a claim of jobs came to, by their references.

    `ends` are jobs that another run has done with the same inputs and options. `known` is how far another run got that
    used the same inputs with other options, or failed. `held` are the jobs that others run now, by holder.
    """

    ends: Mapping[str, JobEnd]
    known: Mapping[str, JobEnd]
    held: Mapping[str, Sequence[str]]


async def claim_shard(temporal: Client, task_queue: str, holder: str, jobs: Mapping[str, JobInput]) -> ClaimedJobs:
    """Claim jobs that nobody else runs. Jobs of holders that ended without releasing them are taken over.

    Raises:
        RPCError: Temporal could not be reached.
    """
    reply = await claim_jobs(temporal, task_queue, holder, jobs)
    gone = [other for other in reply.held if not await _is_running(temporal, other)]
    if gone:
        reply = await claim_jobs(temporal, task_queue, holder, jobs, gone=gone)
    ends: dict[str, JobEnd] = {}
    known: dict[str, JobEnd] = {}
    for finisher, refs in reply.finished.items():
        if finisher == holder:
            continue
        read = await read_ends(temporal, *parse_holder(finisher))
        for ref in read.keys() & refs:
            wanted, (job, end) = jobs[ref], read[ref]
            if end.summary is not None and job.identity == wanted.identity:
                ends[ref] = attrs.evolve(end, recalled=True, spent_cents=0)
            elif job.fingerprint and job.fingerprint == wanted.fingerprint:
                purchases = {stage: intent for stage, intent in end.intents.items() if stage == Stage.PURCHASE}
                known[ref] = JobEnd(facts=end.facts, intents=purchases)
    return ClaimedJobs(ends=ends, known=known, held=reply.held)


async def wait_for_holders(temporal: Client, holders: Iterable[str]) -> None:
    """Wait until one of the workflows ends that hold jobs, or for a minute: it may release them earlier."""
    waits = [asyncio.ensure_future(_wait_for_end(temporal, holder)) for holder in holders]
    try:
        await asyncio.wait(waits, timeout=_MAX_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
            await wait_shielded(wait)


async def _wait_for_end(temporal: Client, holder: str) -> None:
    with suppress(WorkflowFailureError, RPCError):
        await _handle_of(temporal, holder).result(follow_runs=False)


async def _is_running(temporal: Client, holder: str) -> bool:
    try:
        return (await _handle_of(temporal, holder).describe()).status is WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise


def _handle_of(temporal: Client, holder: str) -> WorkflowHandle[Any, Any]:
    workflow_id, run_id = parse_holder(holder)
    return temporal.get_workflow_handle(workflow_id, run_id=run_id)
