"""Record histories of the current workflows, which later versions must be able to replay.

    python tests/temporal/record_histories.py [FOLDER]

Histories of versions in use stay in the folder unchanged, even if this program no longer records them. A change that
cannot replay them needs `workflow.patched` and its own history, recorded here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

import attrs
from temporalio.client import Client

from indigo_async.errors import WorkflowError
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.temporal import connect, create_worker, run_batch, run_job
from indigo_async.temporal.ids import claims_workflow_id, job_workflow_id, shard_workflow_id
from indigo_async.temporal.payloads import (
    BeginRequest,
    Booking,
    BookingKind,
    ClaimRequest,
    OpenRequest,
    ReleaseRequest,
    Settlement,
    Turn,
)
from indigo_async.temporal.workers.export_stores import FolderExportStore
from indigo_async.temporal.workflows.budget import BudgetWorkflow
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.temporal.workflows.shard import ShardWorkflow
from indigo_async.workflows.sharding.claims import Claims
from indigo_async.workflows.sharding.ledger import Ledger
from indigo_async.workflows.sharding.split import job_ref
from tests.support.servers.temporal import temporal_server
from tests.support.temporal_jobs import PRICE_CENTS, lite_sandbox, make_client, make_job

HISTORIES = Path(__file__).parent / "histories"


async def record(address: str, folder: Path) -> None:
    temporal = await connect(address)
    queue = "recording"
    async with (
        lite_sandbox() as sandbox,
        make_client(sandbox) as client,
        create_worker(
            temporal, client, exports=FolderExportStore(Path("exports")), task_queue=queue, graceful_seconds=1.0
        ),
    ):

        async def write(name: str, workflow_id: str) -> None:
            history = await temporal.get_workflow_handle(workflow_id).fetch_history()
            text = history.to_json().replace(socket.gethostname(), "host")
            text = re.sub(r'"identity": ?"[^"]*"', '"identity":"recorded"', text)
            text = re.sub(r'File \\"[^"]*?/(site-packages|indigo_async)/', r'File \\"\1/', text)
            (folder / f"{name}.json").write_text(text + "\n")
            print(name, len(history.events), "events,", len(text), "bytes")

        await run_job(temporal, make_job(1, customer="42"), task_queue=queue)
        await write("job-claimed", job_workflow_id("42", "List 1"))
        await run_job(temporal, make_job(2, customer="42"), task_queue=queue, purchase=False)
        await write("job-claimed-priced", job_workflow_id("42", "List 2"))
        with contextlib.suppress(WorkflowError):
            await run_job(temporal, make_job(4, customer="42", max_cost_cents=0), task_queue=queue)
        await write("job-claimed-over-its-limit", job_workflow_id("42", "List 4"))
        jobs = [make_job(number, customer="42") for number in range(10, 14)]
        await run_batch(temporal, jobs[:2], name="recorded", task_queue=queue, budget_cents=10 * PRICE_CENTS)
        await run_batch(
            temporal,
            jobs,
            name="recorded",
            task_queue=queue,
            budget_cents=3 * PRICE_CENTS,
            shard_size=2,
            max_in_flight=2,
        )
        await write("shard-recalled", shard_workflow_id("recorded", 0))
        await write("shard-over-the-budget", shard_workflow_id("recorded", 1))
        await write("batch-of-shards", "batch/recorded")
        await run_job(temporal, jobs[0], task_queue=queue)
        await write("job-claimed-recalled", job_workflow_id("42", "List 10"))
        await cancel_job(temporal, sandbox, queue)
        await write("job-claimed-canceled", job_workflow_id("42", "List 5"))
        await stop_shards(temporal, sandbox, queue)
        await write("shard-with-a-dropped-job", shard_workflow_id("stopped", 0))
        await write("shard-canceled", shard_workflow_id("stopped", 1))
        await use_ledger(temporal, queue)
        await write("budget-of-shards", "budget/shards")
        await use_claims(temporal, queue)
        await write("claims", "claims/recording/0")


async def cancel_job(temporal: Client, sandbox: Sandbox, task_queue: str) -> None:
    """Cancel a job while its lookalike is requested."""
    endpoint = "POST /create_lookalike_audience"
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=endpoint, delay=1.0))
    requests = sandbox.log.count(endpoint)
    running = asyncio.create_task(
        run_job(temporal, make_job(5, customer="42"), task_queue=task_queue, heartbeat_seconds=1.0)
    )
    while sandbox.log.count(endpoint) == requests:
        await asyncio.sleep(0.02)
    await temporal.get_workflow_handle(job_workflow_id("42", "List 5")).cancel()
    with contextlib.suppress(WorkflowError):
        await running


async def stop_shards(temporal: Client, sandbox: Sandbox, task_queue: str) -> None:
    """Drop a job of the first shard of a batch, and cancel its second shard."""
    jobs = [make_job(number, customer="42") for number in range(20, 24)]
    matched_before = sandbox.log.count("POST /match_uploaded_csv")
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint="POST /match_uploaded_csv", delay=2.0, times=None))
    running = asyncio.create_task(
        run_batch(temporal, jobs, name="stopped", task_queue=task_queue, shard_size=2, heartbeat_seconds=1.0)
    )
    while sandbox.log.count("POST /match_uploaded_csv") < matched_before + 4:
        await asyncio.sleep(0.02)
    first = temporal.get_workflow_handle_for(ShardWorkflow.run, shard_workflow_id("stopped", 0))
    [ref, *_] = sorted(job_ref(job.customer_id, job.audience_name) for job in jobs)
    await first.signal(ShardWorkflow.drop, ref)
    await temporal.get_workflow_handle(shard_workflow_id("stopped", 1)).cancel()
    await running


async def use_ledger(temporal: Client, task_queue: str) -> None:
    """Send the ledger of a batch of shards everything that it accepts."""
    ledger = await temporal.start_workflow(BudgetWorkflow.run, Ledger(), id="budget/shards", task_queue=task_queue)
    await ledger.execute_update(BudgetWorkflow.open, OpenRequest(limit_cents=100, identity="jobs"))
    turn = Turn(shard="0", run=1, attempt=1)
    await ledger.execute_update(BudgetWorkflow.begin, BeginRequest(turn=turn, jobs=("a", "b", "c")))
    reserve, release = BookingKind.RESERVE, BookingKind.RELEASE
    await ledger.execute_update(
        BudgetWorkflow.book,
        [
            Booking(kind=reserve, export_id="1", cents=60, job="a", turn=turn),
            Booking(kind=reserve, export_id="2", cents=60, job="b", turn=turn),
            Booking(kind=reserve, export_id="3", cents=40, job="c", turn=turn),
        ],
    )
    await ledger.execute_update(BudgetWorkflow.book, [Booking(kind=release, export_id="3", job="c")])
    later = attrs.evolve(turn, attempt=2)
    await ledger.execute_update(BudgetWorkflow.begin, BeginRequest(turn=later, jobs=("a", "b", "c")))
    await ledger.execute_update(BudgetWorkflow.begin, BeginRequest(turn=turn, jobs=("a", "b", "c")))
    await ledger.signal(BudgetWorkflow.settle, [Settlement(export_id="1", charged_cents=60, job="a")])
    await ledger.execute_update(BudgetWorkflow.open, OpenRequest(limit_cents=None, identity="other jobs"))
    await ledger.signal(BudgetWorkflow.close)
    await ledger.result()


async def use_claims(temporal: Client, task_queue: str) -> None:
    """Have two shards claim the same job, one after another."""
    claims = await temporal.start_workflow(
        ClaimsWorkflow.run, Claims(), id=claims_workflow_id(task_queue, 0), task_queue=task_queue
    )
    for holder in "first", "second":
        await claims.execute_update(ClaimsWorkflow.claim, ClaimRequest(holder=holder, jobs=("a", "b")))
    await claims.signal(ClaimsWorkflow.release, ReleaseRequest(holder="first", finished=("a",)))
    await claims.execute_update(ClaimsWorkflow.claim, ClaimRequest(holder="second", jobs=("a", "b"), gone=("first",)))


def main() -> None:
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else HISTORIES
    folder.mkdir(exist_ok=True, parents=True)
    with tempfile.TemporaryDirectory() as temporary, temporal_server(Path(temporary)) as address:
        os.chdir(temporary)
        asyncio.run(record(address, folder))
        os.chdir(folder)


if __name__ == "__main__":
    main()
