"""What the stages of one recipe share: the client, what is known already, and where the recipe is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import attrs

from indigo_async.client import IndigoClient
from indigo_async.errors import WaitTimeoutError
from indigo_async.files.publish import Publisher
from indigo_async.models import Audience
from indigo_async.transport.events import Listener, emit, listening
from indigo_async.workflows.budget import Budget
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import Stage, StageFinished, StageStarted

__all__ = ["DEFAULT_TIMEOUT", "Memory", "NoMemory", "Run", "running"]

DEFAULT_TIMEOUT = 4 * 3600.0
"""Seconds that a recipe may take unless the caller says otherwise."""


class Memory(Protocol):
    """What earlier runs did for one job. Facts are small JSON objects."""

    def recall(self, stage: Stage) -> Mapping[str, Any] | None:
        """The result of a stage that was done before."""
        ...

    def intended(self, stage: Stage) -> Mapping[str, Any] | None:
        """What an earlier run was about to send, if it never wrote down how that ended."""
        ...

    async def intend(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down that a POST is about to be sent. Returns when that is safe to do."""
        ...

    async def withdraw(self, stage: Stage) -> None:
        """Write down that the POST last intended was certainly not carried out."""
        ...

    async def remember(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down a result."""
        ...


class NoMemory:
    """The memory of a recipe that is run by itself: the server's records serve instead."""

    def recall(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    def intended(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    async def intend(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...

    async def withdraw(self, stage: Stage) -> None: ...

    async def remember(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...


@attrs.define(eq=False)
class Run:
    """One recipe under way.

    `stage`, `audience` and `timings` (seconds by stage) say how far it came. `made` holds the IDs of the audiences
    made in this run: nobody can have exported those before.
    """

    client: IndigoClient
    customer_id: str | None
    audience_name: str
    directory: Directory
    memory: Memory = attrs.Factory(NoMemory)
    budget: Budget = attrs.Factory(Budget)
    publisher: Publisher | None = None
    made: set[str] = attrs.Factory(set[str])
    stage: Stage = Stage.UPLOAD
    audience: Audience | None = None
    timings: dict[Stage, float] = attrs.Factory(dict[Stage, float])

    @contextmanager
    def at(self, stage: Stage) -> Generator[None]:
        """Say that the block is a stage of the recipe."""
        self.stage = stage
        emit(StageStarted(customer_id=self.customer_id, audience_name=self.audience_name, stage=stage))
        clock = asyncio.get_running_loop().time
        started = clock()
        yield
        seconds = self.timings[stage] = clock() - started
        emit(
            StageFinished(customer_id=self.customer_id, audience_name=self.audience_name, stage=stage, seconds=seconds)
        )


@asynccontextmanager
async def running(run: Run, *, timeout: float, on_event: Listener | None) -> AsyncGenerator[Run]:  # noqa: ASYNC109 - the recipe's own deadline, told apart from others
    """Bound a recipe by its deadline and send its events to a listener.

    Raises:
        WaitTimeoutError: the deadline passed.
    """
    with listening(on_event):
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                yield run
        except TimeoutError:
            if not deadline.expired():
                raise
            raise WaitTimeoutError(
                f"not done after {timeout:g} s; the server's work goes on, and the same call picks it up",
                stage=run.stage,
                audience=run.audience,
            ) from None
