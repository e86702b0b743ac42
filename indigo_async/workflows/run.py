"""What the stages of one recipe share: the client, what is known already, and where the recipe is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

import attrs

from indigo_async.client import IndigoClient
from indigo_async.errors import WaitTimeoutError, WorkflowError
from indigo_async.files.publish import Publisher
from indigo_async.models import Audience, CsvExport
from indigo_async.transport.events import Listener, both, emit, listening
from indigo_async.transport.session import Flight
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.budget import Budget
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import (
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RecipeWarning,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
)
from indigo_async.workflows.settle import settled

__all__ = ["DEFAULT_TIMEOUT", "Brake", "Memory", "NoMemory", "Run", "running"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async.recipes")

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


_NO_MEMORY = NoMemory()


@attrs.define
class Brake:
    """Stops every run that shares it before its next POST, once it has a `reason`."""

    reason: str | None = None


@attrs.define(eq=False)
class Run:
    """One recipe under way.

    `stage`, `audience`, `quote` (the priced export) and `timings` (seconds by stage) say how far it came. `made` holds
    the IDs of the audiences made in this run: nobody can have exported those before. `lost_uploads` counts uploads
    whose answer was lost; each may have left a stub, which is harmless and free. `last_poll` says what the last status
    checks of a wait were that was given up. `warnings` is what a person should
    know about the result; add to it with `warn`.
    """

    client: IndigoClient
    customer_id: str | None
    audience_name: str
    directory: Directory
    memory: Memory = _NO_MEMORY
    budget: Budget = attrs.Factory(Budget)
    brake: Brake = attrs.Factory(Brake)
    publisher: Publisher | None = None
    made: tuple[str, ...] = ()
    stage: Stage = Stage.UPLOAD
    audience: Audience | None = None
    quote: CsvExport | None = None
    lost_uploads: int = 0
    last_poll: str | None = None
    warnings: tuple[str, ...] = ()
    timings: dict[Stage, float] = attrs.Factory(dict[Stage, float])

    def at(self, stage: Stage) -> _StageBlock:
        """Say that a `with` block is a stage of the recipe."""
        return _StageBlock(self, stage)

    def warn(self, message: str) -> None:
        """Log a warning, emit it, and keep it for the job's outcome. The same message counts once."""
        if message in self.warnings:
            return
        self.warnings += (message,)
        _logger.warning("%r: %s: %s", self.audience_name, self.stage, message)
        emit(
            RecipeWarning(
                customer_id=self.customer_id, audience_name=self.audience_name, stage=self.stage, message=message
            )
        )

    def raise_if_stopped(self) -> None:
        """Raise if the batch has stopped.

        Raises:
            WorkflowError: it has, so nothing more may be sent.
        """
        if self.brake.reason is not None:
            raise WorkflowError(
                f"nothing more is sent, since the batch stopped: {self.brake.reason}",
                stage=self.stage,
                audience=self.audience,
            )

    async def post(
        self, send: Callable[[], Awaitable[T]], look: Callable[[], Awaitable[T | None]], flight: Flight | None = None
    ) -> T:
        """Send a POST until its outcome is certain; see `settled`.

        Raises:
            WorkflowError: the batch has stopped meanwhile, and nothing was sent.
        """

        async def send_unless_stopped() -> T:
            self.raise_if_stopped()
            return await send()

        return await settled(send_unless_stopped, look, retry=self.client.transport.retry, flight=flight)


@attrs.define(eq=False)
class _StageBlock:
    """A class, like `running`, because each of 10,000 waiting jobs holds one: a generator takes 0.5 KiB more."""

    _run: Run
    _stage: Stage
    _began: float = 0.0

    def __enter__(self) -> None:
        run, stage = self._run, self._stage
        run.stage = stage
        emit(StageStarted(customer_id=run.customer_id, audience_name=run.audience_name, stage=stage))
        self._began = asyncio.get_running_loop().time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        run, stage = self._run, self._stage
        seconds = asyncio.get_running_loop().time() - self._began
        if error is None:
            run.timings[stage] = seconds
            ended = StageFinished(
                customer_id=run.customer_id, audience_name=run.audience_name, stage=stage, seconds=seconds
            )
        else:
            ended = StageFailed(
                customer_id=run.customer_id,
                audience_name=run.audience_name,
                stage=stage,
                seconds=seconds,
                error_type=type(error).__name__,
            )
        emit(ended)


class running:  # noqa: N801 - read as a verb: `with running(run, ...)`
    """Bound a recipe by its deadline and tell its events to the client's listener and its own.

    Raises:
        WaitTimeoutError: the deadline passed.
    """

    __slots__ = ("_began", "_deadline", "_limit", "_listening", "_recipe", "_run")

    def __init__(self, run: Run, recipe: str, limit: TimeLimit, *, on_event: Listener | None = None) -> None:
        self._run = run
        self._recipe = recipe
        self._limit = limit
        listener = both(run.client.transport.on_event, on_event)
        self._listening = None if listener is None else listening(listener)
        self._deadline = limit.applied()
        self._began = 0.0

    def __enter__(self) -> Run:
        run = self._run
        if self._listening is not None:
            self._listening.__enter__()
            self._began = asyncio.get_running_loop().time()
            emit(RecipeStarted(customer_id=run.customer_id, audience_name=run.audience_name, recipe=self._recipe))
        self._deadline.__enter__()
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._deadline.__exit__(kind, error, trace)
        except TimeoutError:
            error = _overdue(self._run, self._limit.seconds)
            raise error from None
        finally:
            if self._listening is not None:
                self._tell_end(error)
                self._listening.__exit__(None, None, None)
            del error  # what is raised here refers to this frame: only a garbage collection would free them

    def _tell_end(self, error: BaseException | None) -> None:
        run = self._run
        seconds = asyncio.get_running_loop().time() - self._began
        if error is None:
            ended = RecipeFinished(
                customer_id=run.customer_id, audience_name=run.audience_name, recipe=self._recipe, seconds=seconds
            )
        else:
            ended = RecipeFailed(
                customer_id=run.customer_id,
                audience_name=run.audience_name,
                recipe=self._recipe,
                seconds=seconds,
                stage=run.stage,
                error_type=type(error).__name__,
            )
        emit(ended)


def _overdue(run: Run, seconds: float) -> WaitTimeoutError:
    seen = "" if run.last_poll is None else f"{run.last_poll}; "
    return WaitTimeoutError(
        f"not done after {seconds:g} s; {seen}the server's work goes on, and {_next_step(run)}",
        stage=run.stage,
        audience=run.audience,
    )


def _next_step(run: Run) -> str:
    """What to do after a deadline. Only of an export whose purchase is certain it may be said that it was bought."""
    if run.stage is Stage.DOWNLOAD:
        return "workflows.fetch_again downloads what was bought"
    if run.stage is not Stage.PURCHASE:
        return "the same call picks it up"
    if run.memory.recall(Stage.PURCHASE) is not None and run.memory.intended(Stage.PURCHASE) is None:
        return "workflows.fetch_again downloads what was bought"
    return "the same call checks the server before it buys anything"
