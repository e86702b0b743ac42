"""What an attempt at a stage knows about earlier attempts, from the history and from their heartbeats.

The workflow history is the journal of a job on Temporal: scheduling the purchase activity records the intent, and the
result of an activity is the result of its stage. Steps within a stage, such as an upload, are saved in heartbeats. If
those are lost with a worker, the server's records are used, by the same rules as without a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.events import Stage
from indigo_async.temporal.failures import create_handover

__all__ = ["AttemptLog", "run_with_heartbeat"]

T = TypeVar("T")

_HEARTBEATS_PER_TIMEOUT = 3
_MAX_HEARTBEAT_INTERVAL = 10.0
_HANDOVER_DELAY = timedelta(milliseconds=100)


class AttemptLog:
    """The job log of one attempt. `intent_cancelled` is true if its purchase certainly was not carried out."""

    def __init__(
        self, previous_details: Mapping[str, Any] | None, send_heartbeat: Callable[[Mapping[str, Any]], object]
    ) -> None:
        details = previous_details or {}
        self._results: dict[str, Mapping[str, Any]] = dict(details.get("results", {}))
        self._intents: dict[str, Mapping[str, Any]] = dict(details.get("intents", {}))
        self._send_heartbeat = send_heartbeat
        self.intent_cancelled: bool = False

    @property
    def heartbeat_details(self) -> Mapping[str, Any]:
        """What the next attempt needs to know."""
        return {"results": self._results, "intents": self._intents}

    def load_known(self, facts: Mapping[str, Mapping[str, Any]], intents: Mapping[str, Mapping[str, Any]]) -> None:
        """Load what another run of the job found out, by stage. What earlier attempts recorded is newer."""
        self._results = {**facts, **self._results}
        self._intents = {**intents, **self._intents}

    def load_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Load a stage's result from the history."""
        self._results[stage.value] = facts

    def load_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Load an intent from the history: a lost attempt may have carried it out."""
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
    """Run a stage and send heartbeats until it is done. If canceled, wait for the stage to end cleanly first.

    With `hand_over_on_shutdown`, the stage ends at once when its worker shuts down, and another worker continues it.
    """
    limit = activity.info().heartbeat_timeout
    interval = None if limit is None else min(_MAX_HEARTBEAT_INTERVAL, limit.total_seconds() / _HEARTBEATS_PER_TIMEOUT)
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
                raise create_handover("the worker is shutting down; another one continues", delay=_HANDOVER_DELAY)
            activity.heartbeat(details())
    finally:
        for future in waiting:
            future.cancel()
        await wait_shielded(stage)
        if not stage.cancelled():
            stage.exception()  # mark it as retrieved
