"""What an attempt at a stage knows of the attempts before it: from the history, and from their heartbeats.

The workflow's history is the journal of a job on Temporal. A purchase's intent is the activity that was scheduled with
it, and a stage's result is the activity's. What happens within a stage (an upload, say) goes along with heartbeats:
when those are lost with a worker, the server's own records serve, by the same rules as without a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.events import Stage

__all__ = ["AttemptLog", "run_with_heartbeat"]

T = TypeVar("T")

_HEARTBEATS_PER_TIMEOUT = 3
_HANDOVER_DELAY = timedelta(milliseconds=100)


class AttemptLog:
    """The memory of one attempt. `intent_cancelled` says that a purchase was certainly not carried out by it."""

    def __init__(self, told: Mapping[str, Any] | None, tell: Callable[[Mapping[str, Any]], object]) -> None:
        told = told or {}
        self._results: dict[str, Mapping[str, Any]] = dict(told.get("results", {}))
        self._intents: dict[str, Mapping[str, Any]] = dict(told.get("intents", {}))
        self._send_heartbeat = tell
        self.intent_cancelled: bool = False

    @property
    def heartbeat_details(self) -> Mapping[str, Any]:
        """What the next attempt is to know."""
        return {"results": self._results, "intents": self._intents}

    def load_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Take a stage's result from the history."""
        self._results[stage.value] = facts

    def load_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Take an intent from the history: it may have been carried out, by an attempt that nobody heard of again."""
        self._intents[stage.value] = facts

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        return self._results.get(stage.value)

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        return self._intents.get(stage.value)

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        self._intents[stage.value] = facts
        self._send_heartbeat(self.heartbeat_details)

    async def cancel_intent(self, stage: Stage) -> None:
        self._intents.pop(stage.value, None)
        self.intent_cancelled = True
        self._send_heartbeat(self.heartbeat_details)

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        self._intents.pop(stage.value, None)
        self._results[stage.value] = facts
        self._send_heartbeat(self.heartbeat_details)


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
