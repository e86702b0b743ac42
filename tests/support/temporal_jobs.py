"""What tests on Temporal share: jobs of a customer of their own, workers, and histories to read."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
from temporalio.client import Client
from temporalio.worker import Worker

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, RetryPolicy
from indigo_async.sandbox import Sandbox
from indigo_async.temporal import connect, create_worker, export_store
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))
PRICE_CENTS = 8_000
"""Of an export with phones of a lookalike of 2,000 people, at a lite sandbox."""

PURCHASE = "POST /purchase_csv_export"


def make_job(number: int, *, customer: str, max_cost_cents: int = 1_000_000, **changes: Any) -> AudienceJob:
    name = f"List {number}"
    made = AudienceJob(
        customer_id=customer,
        audience_name=name,
        csv=f"https://files.example.org/{number}.csv",
        column_selections=COLUMNS,
        lookalike=LookalikeStep(audience_name=f"{name}, grown", size=2_000),
        export=ExportStep(
            destination=f"{customer}/{number}.csv", optional_field_types=["phone"], max_cost_cents=max_cost_cents
        ),
    )
    return attrs.evolve(made, **changes)


def lite_sandbox(**options: Any) -> Sandbox:
    """Stages take a few hundredths of a second."""
    return Sandbox(lite=True, **{"speed": 2_000.0, "download_lifetime": 1e12} | options)


def make_client(sandbox: Sandbox, token: str | Callable[[], str] | None = None) -> IndigoClient:
    retry = RetryPolicy(attempts=4, wait_initial=0.001, wait_max=0.01)
    return IndigoClient(token or sandbox.token, base_url=sandbox.base_url, retry=retry, poll_interval=0.02)


@attrs.frozen
class TemporalEnvironment:
    """A sandbox, and a worker on it whose exports land in a folder."""

    sandbox: Sandbox
    temporal: Client
    address: str
    task_queue: str
    exports: Path

    @asynccontextmanager
    async def running_worker(
        self, *, token: str | Callable[[], str] | None = None, **options: Any
    ) -> AsyncGenerator[None]:
        """Have a worker do what comes, as long as the block lasts."""
        settings: dict[str, Any] = {"exports": export_store(str(self.exports)), "graceful_seconds": 1.0} | options
        own = await connect(self.address)  # a connection has one worker for a task queue
        async with (
            make_client(self.sandbox, token) as client,
            _ended_within(30.0, create_worker(own, client, task_queue=self.task_queue, **settings)),
        ):
            yield

    def purchase_count(self) -> int:
        return self.sandbox.counts().purchases


@asynccontextmanager
async def _ended_within(seconds: float, worker: Worker) -> AsyncGenerator[None]:
    """Run a worker. After a workflow is terminated, Temporal's Rust core rarely waits forever at the worker's end."""
    give_up: asyncio.TimerHandle | None = None
    try:
        async with worker:
            try:
                yield
            finally:
                running = worker._async_context_run_task
                assert running is not None
                give_up = asyncio.get_running_loop().call_later(seconds, running.cancel)
    finally:
        if give_up is not None:
            give_up.cancel()


@contextmanager
def worker_process(environment: TemporalEnvironment, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `indigo-async worker` in a separate process, until it is killed at the end of the block."""
    command = [sys.executable, "-m", "indigo_async", "worker", "--temporal", environment.address]
    command += ["--task-queue", environment.task_queue, "--exports", str(environment.exports)]
    command += ["--poll-interval", "0.05", "--graceful", "5"]
    variables = {"INDIGO_BASE_URL": environment.sandbox.base_url, "INDIGO_API_TOKEN": environment.sandbox.token}
    with log.open("ab") as errors:
        process = subprocess.Popen(command, env=os.environ | variables, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def history_text(temporal: Client, workflow_id: str) -> str:
    """A workflow's history, its payloads as they are on the wire, decoded from Base64 by the client."""
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    return "\n".join(str(event) for event in history.events)


async def event_types(temporal: Client, workflow_id: str) -> list[str]:
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    return [event["eventType"].removeprefix("EVENT_TYPE_") for event in json.loads(history.to_json())["events"]]
