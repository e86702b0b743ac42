"""Record histories of the current workflows, which later versions must be able to replay.

    python tests/temporal/record_histories.py [FOLDER]

Histories of versions in use stay in the folder unchanged. A change that cannot replay them needs `workflow.patched`
and its own history, recorded here.
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

from indigo_async.errors import WorkflowError
from indigo_async.temporal import connect, create_worker, run_batch, run_job
from indigo_async.temporal.export_stores import FolderExportStore
from indigo_async.temporal.ids import job_workflow_id
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
        await write("job-bought", job_workflow_id("42", "List 1"))
        await run_job(temporal, make_job(2, customer="42"), task_queue=queue, purchase=False)
        await write("job-priced", job_workflow_id("42", "List 2"))
        await run_job(temporal, make_job(3, customer="42", lookalike=None, export=None), task_queue=queue)
        await write("job-matched", job_workflow_id("42", "List 3"))
        with contextlib.suppress(WorkflowError):
            await run_job(temporal, make_job(4, customer="42", max_cost_cents=0), task_queue=queue)
        await write("job-over-its-limit", job_workflow_id("42", "List 4"))
        jobs = [make_job(number, customer="42") for number in range(10, 14)]
        await run_batch(temporal, jobs[:2], name="recorded", task_queue=queue, budget_cents=10 * PRICE_CENTS)
        await run_batch(
            temporal,
            jobs,
            name="recorded",
            task_queue=queue,
            budget_cents=3 * PRICE_CENTS,
            page_size=2,
            max_in_flight=2,
        )
        await write("page-recalled", "batch/recorded/page/0")
        await write("page-over-the-budget", "batch/recorded/page/1")
        await write("batch", "batch/recorded")
        await temporal.get_workflow_handle("budget/recorded").signal("close")
        await temporal.get_workflow_handle("budget/recorded").result()
        await write("budget", "budget/recorded")


def main() -> None:
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else HISTORIES
    folder.mkdir(exist_ok=True, parents=True)
    with tempfile.TemporaryDirectory() as temporary, temporal_server(Path(temporary)) as address:
        os.chdir(temporary)
        asyncio.run(record(address, folder))
        os.chdir(folder)


if __name__ == "__main__":
    main()
