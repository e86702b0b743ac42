"""The connection to Temporal of the commands that start, show and stop batches."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from indigo_async.cli.options.batch import TEMPORAL_BATCH, TemporalOptions
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.temporal import connect

__all__ = ["open_temporal", "suggesting_batch"]

_ERRORS_ONLY = TelemetryFilter(core_level="ERROR", other_level="ERROR")
"""During an outage, Temporal's library logs each retry as a warning. The SDK logs the outage once."""


async def open_temporal(options: TemporalOptions) -> Client:
    """Connect to Temporal.

    Raises:
        ConnectionFailedError: it does not respond or refuses the key.
    """
    runtime = Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=_ERRORS_ONLY)))
    return await connect(options.address, namespace=options.namespace, runtime=runtime)


@contextmanager
def suggesting_batch(batch: str) -> Generator[None]:
    """Add the name of a manifest's batch to an error of the block if a manifest was given instead.

    Raises:
        InvalidInputError: the block raised it.
    """
    try:
        yield
    except InvalidInputError as error:
        problems = list(error.problems)
    else:
        return
    manifest = Path(batch)
    if manifest.is_file():
        problems.append(Problem("batch", f"did you mean {TEMPORAL_BATCH.batch_name(manifest)}?"))
    raise InvalidInputError(problems)
