"""`indigo-async worker`: a process that works on jobs started on Temporal."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

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
    from indigo_async.cli.runners.worker import work_on_jobs

    return work_on_jobs(
        temporal,
        pacing,
        options,
        exports=exports,
        publish=publish,
        max_jobs=max_jobs,
        poll_interval=poll_interval,
        graceful_seconds=graceful,
        health=health,
        metrics=metrics,
    )
