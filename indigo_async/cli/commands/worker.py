"""`indigo-async worker`: a process that works on jobs started on Temporal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.client import create_client, explicit_proxy, open_publisher
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import TEMPORAL_QUEUE, TemporalQueueOptions
from indigo_async.cli.options.common import (
    CONNECTION,
    PACING,
    POSITIVE,
    ConnectionOptions,
    PacingOptions,
    PollInterval,
    Publish,
    WholeNumber,
)
from indigo_async.cli.signals import run_async, stop_on_signals

__all__ = ["worker"]


def worker(
    *,
    exports: Annotated[
        str,
        Parameter(
            help="Where to store exports, under their jobs' destinations: s3://bucket/prefix, gs://... or az://..., or "
            "a folder that all workers share. The folder is created; its parent must exist."
        ),
    ],
    publish: Publish = None,
    max_jobs: Annotated[
        WholeNumber,
        Parameter(
            help="About how many jobs may run at the same time. Most of them only wait. A shard counts as 100.",
            validator=POSITIVE,
        ),
    ] = 10_000,
    poll_interval: PollInterval = 5.0,
    graceful: Annotated[
        float,
        Parameter(help="Seconds to finish purchases and downloads in flight when stopping.", validator=POSITIVE),
    ] = 90.0,
    health: Annotated[
        str | None, Parameter(help="Host and port to serve GET /healthz on, such as 127.0.0.1:8081.")
    ] = None,
    metrics: Annotated[
        str | None, Parameter(help="Host and port to serve GET /metrics for Prometheus on, such as 127.0.0.1:9464.")
    ] = None,
    pacing: PacingOptions = PACING,
    temporal: TemporalQueueOptions = TEMPORAL_QUEUE,
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Work on jobs until Ctrl-C or SIGTERM, then hand waiting jobs over to other workers."""
    from indigo_async.temporal import connect, export_store  # noqa: PLC0415 - optional extra
    from indigo_async.temporal.workers.guard import WorkerGuard  # noqa: PLC0415
    from indigo_async.temporal.workers.load import WorkerLoad  # noqa: PLC0415
    from indigo_async.temporal.workers.monitoring import (  # noqa: PLC0415
        create_metrics_listener,
        create_runtime,
        report_load,
        serve_health,
    )
    from indigo_async.temporal.workers.worker import create_guarded_worker  # noqa: PLC0415

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
                graceful_seconds=graceful,
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
