"""Signs of life of a stage, for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from indigo_async.transport.shield import outlast

__all__ = ["beating"]

T = TypeVar("T")

_BEATS_IN_TIMEOUT = 3
_TAKE_OVER = timedelta(milliseconds=100)


async def beating(work: Coroutine[Any, Any, T], facts: Callable[[], Mapping[str, Any]], *, yields: bool) -> T:
    """Do a stage's work, telling Temporal that it goes on. Cancelled, the work ends in its own order first.

    A stage that `yields` is handed over at once when its worker is shut down: another goes on with it.
    """
    limit = activity.info().heartbeat_timeout
    interval = None if limit is None else limit.total_seconds() / _BEATS_IN_TIMEOUT
    stage = asyncio.ensure_future(work)
    waiting: set[asyncio.Future[Any]] = {stage}
    if yields:
        waiting.add(asyncio.ensure_future(activity.wait_for_worker_shutdown()))
    try:
        while True:
            done, _ = await asyncio.wait(waiting, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
            if stage.done():
                return stage.result()
            if done:
                raise ApplicationError(
                    "the worker is shut down; another goes on", type="WorkerEnds", next_retry_delay=_TAKE_OVER
                )
            activity.heartbeat(facts())
    finally:
        for future in waiting:
            future.cancel()
        await outlast(stage)
        if not stage.cancelled():
            stage.exception()  # of a stage that nobody waits for any more
