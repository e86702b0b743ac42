"""`indigo-async worker`: a process that works on jobs started on Temporal."""

from __future__ import annotations

import asyncio
from pathlib import Path

from indigo_async.cli.client import create_client, explicit_proxy, open_publisher
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import TemporalQueueOptions
from indigo_async.cli.options.common import ConnectionOptions, PacingOptions
from indigo_async.cli.signals import run_async, stop_on_signals
from indigo_async.temporal import connect, export_store
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workers.load import WorkerLoad
from indigo_async.temporal.workers.monitoring import (
    create_metrics_listener,
    create_runtime,
    report_load,
    serve_health,
)
from indigo_async.temporal.workers.worker import create_guarded_worker

__all__ = ["work_on_jobs"]


def work_on_jobs(
    temporal: TemporalQueueOptions,
    pacing: PacingOptions,
    options: ConnectionOptions,
    *,
    exports: str,
    publish: str | None,
    max_jobs: int,
    poll_interval: float,
    graceful_seconds: float,
    health: str | None,
    metrics: str | None,
) -> ExitCode:
    """Work on jobs until Ctrl-C or SIGTERM, then hand waiting jobs over to other workers."""
    output = options.create_output()

    async def work() -> ExitCode:
        runtime = create_runtime(metrics)
        temporal_client = await connect(temporal.address, namespace=temporal.namespace, runtime=runtime)
        on_event = None if metrics is None else create_metrics_listener(runtime)
        async with (
            create_client(options, pacing, poll_interval=poll_interval, on_event=on_event) as client,
            open_publisher(client, publish) as publisher,
        ):
            store = export_store(exports, proxy=explicit_proxy(client))
            guard = WorkerGuard(client, store, on_ready=lambda: output.note(_start_message(temporal, exports)))
            load = WorkerLoad(max_jobs)
            running_worker = create_guarded_worker(
                temporal_client,
                client,
                guard,
                load,
                exports=store,
                publisher=publisher,
                task_queue=temporal.task_queue,
                graceful_seconds=graceful_seconds,
            )
            stopping = asyncio.Event()
            with stop_on_signals(stopping.set):
                async with (
                    serve_health(health, stopping, client, guard, load),
                    report_load(runtime, load),
                    running_worker,
                ):
                    await stopping.wait()
                    output.note("Handing over waiting jobs, after finishing purchases and downloads in flight.")
        return ExitCode.SUCCESS

    return run_async(work)


def _start_message(temporal: TemporalQueueOptions, exports: str) -> str:
    location = exports if "://" in exports else str(Path(exports).absolute())
    return f"Worker started on the task queue {temporal.task_queue!r}. Exports go to {location}. Press Ctrl-C to stop."
