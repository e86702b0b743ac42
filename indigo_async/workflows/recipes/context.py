"""What the stages of one recipe share: the client, what is known already, and where the recipe is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

import attrs

from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._transport.transport import SendState
from indigo_async.client import IndigoClient
from indigo_async.errors import WaitTimeoutError, WorkflowError
from indigo_async.events import (
    Listener,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RecipeWarning,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
    combine_listeners,
    emit,
    listen,
)
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.reconcile import send_and_verify

__all__ = ["DEFAULT_TIMEOUT", "JobLog", "NullJobLog", "RecipeContext", "StopFlag", "recipe_scope"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async.recipes")

DEFAULT_TIMEOUT = 4 * 3600.0
"""Seconds that a recipe may take unless the caller says otherwise."""


class JobLog(Protocol):
    """What earlier runs did for one job. Facts are small JSON objects."""

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        """The result of a stage that was done before."""
        ...

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        """What an earlier run was about to send, if it never wrote down how that ended."""
        ...

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down that a POST is about to be sent. Returns when that is safe to do."""
        ...

    async def cancel_intent(self, stage: Stage) -> None:
        """Write down that the POST last intended was certainly not carried out."""
        ...

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down a result."""
        ...


class NullJobLog:
    """The memory of a recipe that is run by itself: the server's records serve instead."""

    def result(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...

    async def cancel_intent(self, stage: Stage) -> None: ...

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...


_NULL_JOB_LOG = NullJobLog()


@attrs.define
class StopFlag:
    """Stops every run that shares it before its next POST, once it has a `reason`."""

    reason: str | None = None


@attrs.define(eq=False)
class RecipeContext:
    """One recipe under way.

    `current_stage`, `audience`, `quote` (the priced export) and `timings` (seconds by stage) say how far it came.
    `created_ids` holds the IDs of the audiences made in this run: nobody can have exported those before. `lost_uploads`
    counts uploads whose answer was lost; each may have left a stub, which is harmless and free. `last_poll` says what
    the last status checks of a wait were that was given up. `warnings` is what a person should know about the result;
    add to it with `warn`.
    """

    client: IndigoClient
    customer_id: str | None
    audience_name: str
    name_index: NameIndex
    job_log: JobLog = _NULL_JOB_LOG
    budget: Budget = attrs.Factory(Budget)
    stop_flag: StopFlag = attrs.Factory(StopFlag)
    publisher: Publisher | None = None
    created_ids: tuple[str, ...] = ()
    current_stage: Stage = Stage.UPLOAD
    audience: Audience | None = None
    quote: CsvExport | None = None
    lost_uploads: int = 0
    last_poll: str | None = None
    warnings: tuple[str, ...] = ()
    timings: dict[Stage, float] = attrs.Factory(dict[Stage, float])

    def stage(self, stage: Stage) -> _StageScope:
        """Say that a `with` block is a stage of the recipe."""
        return _StageScope(self, stage)

    def warn(self, message: str) -> None:
        """Log a warning, emit it, and keep it for the job's outcome. The same message counts once."""
        if message in self.warnings:
            return
        self.warnings += (message,)
        _logger.warning("%r: %s: %s", self.audience_name, self.current_stage, message)
        emit(
            RecipeWarning(
                customer_id=self.customer_id,
                audience_name=self.audience_name,
                stage=self.current_stage,
                message=message,
            )
        )

    def raise_if_stopped(self) -> None:
        """Raise if the batch has stopped.

        Raises:
            WorkflowError: it has, so nothing more may be sent.
        """
        if self.stop_flag.reason is not None:
            raise WorkflowError(
                f"nothing more is sent, since the batch stopped: {self.stop_flag.reason}",
                stage=self.current_stage,
                audience=self.audience,
            )

    async def post(
        self,
        send: Callable[[], Awaitable[T]],
        find_outcome: Callable[[], Awaitable[T | None]],
        send_state: SendState | None = None,
    ) -> T:
        """Send a POST until its outcome is certain; see `settled`.

        Raises:
            WorkflowError: the batch has stopped meanwhile, and nothing was sent.
        """

        async def send_unless_stopped() -> T:
            self.raise_if_stopped()
            return await send()

        return await send_and_verify(
            send_unless_stopped, find_outcome, retry=self.client.transport.retry, send_state=send_state
        )


@attrs.define(eq=False)
class _StageScope:
    """A class, like `recipe_scope`, because each of 10,000 waiting jobs holds one: a generator takes 0.5 KiB more."""

    _context: RecipeContext
    _stage: Stage
    _started_at: float = 0.0

    def __enter__(self) -> None:
        run, stage = self._context, self._stage
        run.current_stage = stage
        emit(StageStarted(customer_id=run.customer_id, audience_name=run.audience_name, stage=stage))
        self._started_at = asyncio.get_running_loop().time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        run, stage = self._context, self._stage
        seconds = asyncio.get_running_loop().time() - self._started_at
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


class recipe_scope:  # noqa: N801 - read as a verb: `with running(run, ...)`
    """Bound a recipe by its deadline and tell its events to the client's listener and its own.

    Raises:
        WaitTimeoutError: the deadline passed.
    """

    __slots__ = ("_context", "_deadline", "_limit", "_listener_scope", "_recipe", "_started_at")

    def __init__(
        self, context: RecipeContext, recipe: str, limit: SharedTimeout, *, on_event: Listener | None = None
    ) -> None:
        self._context = context
        self._recipe = recipe
        self._limit = limit
        listener = combine_listeners(context.client.transport.on_event, on_event)
        self._listener_scope = None if listener is None else listen(listener)
        self._deadline = limit.scope()
        self._started_at = 0.0

    def __enter__(self) -> RecipeContext:
        run = self._context
        if self._listener_scope is not None:
            self._listener_scope.__enter__()
            self._started_at = asyncio.get_running_loop().time()
            emit(RecipeStarted(customer_id=run.customer_id, audience_name=run.audience_name, recipe=self._recipe))
        self._deadline.__enter__()
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._deadline.__exit__(kind, error, trace)
        except TimeoutError:
            error = _timeout_error(self._context, self._limit.seconds)
            raise error from None
        finally:
            if self._listener_scope is not None:
                self._emit_end(error)
                self._listener_scope.__exit__(None, None, None)
            del error  # what is raised here refers to this frame: only a garbage collection would free them

    def _emit_end(self, error: BaseException | None) -> None:
        run = self._context
        seconds = asyncio.get_running_loop().time() - self._started_at
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
                stage=run.current_stage,
                error_type=type(error).__name__,
            )
        emit(ended)


def _timeout_error(context: RecipeContext, seconds: float) -> WaitTimeoutError:
    seen = "" if context.last_poll is None else f"{context.last_poll}; "
    return WaitTimeoutError(
        f"not done after {seconds:g} s; {seen}the server's work goes on, and {_next_step(context)}",
        stage=context.current_stage,
        audience=context.audience,
    )


def _next_step(context: RecipeContext) -> str:
    """What to do after a deadline. Only of an export whose purchase is certain it may be said that it was bought."""
    if context.current_stage is Stage.DOWNLOAD:
        return "workflows.download_export downloads what was bought"
    if context.current_stage is not Stage.PURCHASE:
        return "the same call picks it up"
    if context.job_log.result(Stage.PURCHASE) is not None and context.job_log.open_intent(Stage.PURCHASE) is None:
        return "workflows.download_export downloads what was bought"
    return "the same call checks the server before it buys anything"
