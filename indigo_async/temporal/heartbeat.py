"""Signs of life of a stage, for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from indigo_async._transport.cancellation import wait_shielded

__all__ = ["run_with_heartbeat"]

T = TypeVar("T")

_HEARTBEATS_PER_TIMEOUT = 3
_HANDOVER_DELAY = timedelta(milliseconds=100)


async def run_with_heartbeat(
    work: Coroutine[Any, Any, T], details: Callable[[], Mapping[str, Any]], *, hand_over_on_shutdown: bool
) -> T:
    """Do a stage's work, telling Temporal that it goes on. Cancelled, the work ends in its own order first.

    A stage that `hand_over_on_shutdown` is handed over at once when its worker is shut down: another goes on with it.
    """
    limit = activity.info().heartbeat_timeout
    interval = None if limit is None else limit.total_seconds() / _HEARTBEATS_PER_TIMEOUT
    stage = asyncio.ensure_future(work)
    waiting: set[asyncio.Future[Any]] = {stage}
    if hand_over_on_shutdown:
        waiting.add(asyncio.ensure_future(activity.wait_for_worker_shutdown()))
    try:
        while True:
            done, _ = await asyncio.wait(waiting, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
            if stage.done():
                return stage.result()
            if done:
                raise ApplicationError(
                    "the worker is shut down; another goes on", type="WorkerEnds", next_retry_delay=_HANDOVER_DELAY
                )
            activity.heartbeat(details())
    finally:
        for future in waiting:
            future.cancel()
        await wait_shielded(stage)
        if not stage.cancelled():
            stage.exception()  # of a stage that nobody waits for any more
