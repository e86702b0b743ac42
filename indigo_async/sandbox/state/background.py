"""Background work that endpoints start and the sandbox owns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import attrs

from indigo_async.sandbox.state.engine import StageError

__all__ = ["BackgroundTasks"]

_log = logging.getLogger(__name__)


@attrs.define
class BackgroundTasks:
    """The running computations."""

    _running: set[asyncio.Task[None]] = attrs.field(factory=set[asyncio.Task[None]], init=False)

    def start(self, work: Callable[[], Awaitable[None]], on_failure: Callable[[str], object]) -> asyncio.Task[None]:
        """Start work. If it fails, `on_failure` receives the reason. The task itself never fails."""
        task = asyncio.create_task(_run_reporting_failure(work, on_failure))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def wait_until_idle(self) -> None:
        """Wait until no work is running."""
        while self._running:
            await asyncio.wait(self._running)

    async def aclose(self) -> None:
        """Cancel running work and wait until it has ended, including its threads."""
        for task in self._running:
            task.cancel()
        await self.wait_until_idle()


async def _run_reporting_failure(work: Callable[[], Awaitable[None]], on_failure: Callable[[str], object]) -> None:
    try:
        await work()
    except StageError as failure:
        on_failure(str(failure))
    except Exception:  # noqa: BLE001 - it is told to the client, and the sandbox lives on
        _log.exception("the sandbox could not do a piece of work")
        on_failure("InternalError")
