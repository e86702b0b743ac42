"""What goes wrong while a batch runs on Temporal: workers killed or stopped, the API or Temporal down."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.support.controlled_sandbox import ControlledSandbox
from benchmarks.support.temporal_processes import TemporalServer, Workers

__all__ = ["api_outage", "disturbed", "kills", "stops", "temporal_outage"]

SECONDS_BETWEEN_KILLS = 6, 14


async def kills(workers: Workers) -> None:
    """Kill and replace a worker every 6 to 14 seconds."""
    while True:
        await asyncio.sleep(random.uniform(*SECONDS_BETWEEN_KILLS))
        workers.kill_one()
        workers.start()


async def stops(workers: Workers, heartbeat_seconds: float) -> None:
    """Stop a worker for longer than its heartbeat timeout, so that another takes over, and let it go on."""
    while True:
        await asyncio.sleep(random.uniform(*SECONDS_BETWEEN_KILLS))
        worker = workers.stop_one()
        await asyncio.sleep(heartbeat_seconds * 1.3)
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)


async def api_outage(sandbox: ControlledSandbox, after: float, seconds: float) -> None:
    await asyncio.sleep(after)
    await sandbox.be_down(seconds)


async def temporal_outage(server: TemporalServer, after: float, seconds: float) -> None:
    """Kill the server, and start it again on the same file."""
    await asyncio.sleep(after)
    server.kill()
    await asyncio.sleep(seconds)
    server.start()


@asynccontextmanager
async def disturbed(*disturbances: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run disturbances until the block ends. Raises if one of them failed."""
    tasks = [asyncio.create_task(disturbance) for disturbance in disturbances]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
