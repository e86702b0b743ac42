"""`indigo-async worker`: a process that does the stages of jobs on Temporal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import CONNECTION, OUTPUT, ConnectionOptions, OutputOptions, WholeNumber, run_async
from indigo_async.cli.options.publish import Publish, open_publisher
from indigo_async.cli.options.temporal import TEMPORAL, TemporalOptions
from indigo_async.cli.signals import stop_on_signals
from indigo_async.client import IndigoClient

__all__ = ["worker"]

_POSITIVE = Number(gt=0)


def worker(
    *,
    exports: Annotated[
        str,
        Parameter(
            help="Where exports land, under their jobs' destinations: a folder that all workers share, or "
            "s3://bucket/prefix, gs://... or az://..."
        ),
    ],
    publish: Publish = None,
    max_stages: Annotated[
        WholeNumber,
        Parameter(help="How many stages are under way at most; most of them only wait.", validator=_POSITIVE),
    ] = 10_000,
    poll_interval: Annotated[
        float, Parameter(help="Seconds between two looks at an audience.", validator=_POSITIVE)
    ] = 5.0,
    graceful: Annotated[
        float, Parameter(help="Seconds for purchases and downloads under way at the end.", validator=_POSITIVE)
    ] = 90.0,
    health: Annotated[
        str | None, Parameter(help="Host and port that answer GET /healthz, such as 127.0.0.1:8081.")
    ] = None,
    metrics: Annotated[
        str | None, Parameter(help="Host and port that answer GET /metrics for Prometheus, such as 127.0.0.1:9464.")
    ] = None,
    temporal: TemporalOptions = TEMPORAL,
    connection: ConnectionOptions = CONNECTION,
    output: OutputOptions = OUTPUT,
) -> ExitCode:
    """Do the stages of jobs until Ctrl-C or SIGTERM, then hand what waits over to other workers."""
    from indigo_async.temporal import connect, create_worker, export_store  # noqa: PLC0415 - the help needs no extra
    from indigo_async.temporal.monitoring import create_metrics_listener, create_runtime, serve_health  # noqa: PLC0415 - as above

    words = output.create_output()

    async def work() -> ExitCode:
        runtime = create_runtime(metrics)
        service = await connect(temporal.address, namespace=temporal.namespace, runtime=runtime)
        async with (
            IndigoClient(
                base_url=connection.base_url, poll_interval=poll_interval, on_event=create_metrics_listener(runtime)
            ) as client,
            open_publisher(client, publish) as publisher,
        ):
            doing = create_worker(
                service,
                client,
                exports=export_store(exports),
                publisher=publisher,
                task_queue=temporal.task_queue,
                max_stages=max_stages,
                graceful_seconds=graceful,
            )
            ending = asyncio.Event()
            with stop_on_signals(ending.set):
                async with serve_health(health, ending, client), doing:
                    words.note(_start_message(temporal, exports))
                    await ending.wait()
                    words.note("Handing over what waits; purchases and downloads under way are ended first.")
        return ExitCode.SUCCESS

    return run_async(work)


def _start_message(temporal: TemporalOptions, exports: str) -> str:
    place = exports if "://" in exports else str(Path(exports).absolute())
    return f"Working on the task queue {temporal.task_queue!r}; exports land in {place}. Ctrl-C ends it."
