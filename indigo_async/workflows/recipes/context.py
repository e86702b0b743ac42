"""What the stages of one recipe share: the client, the job log, the budget, and how far the recipe got."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

import attrs

from indigo_async._listeners import combine_listeners, emit, has_listener, listen
from indigo_async._transport.outage import wait_out_outages
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import WaitTimeoutError, WorkflowError
from indigo_async.events import (
    AudienceReused,
    ExportReused,
    Listener,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RecipeWarning,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
    WorkflowEvent,
)
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.logs import log_event
from indigo_async.models import Audience, CsvExport, RecordId
from indigo_async.workflows.recipes.budget import Account, Budget
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.next_step import Requested, describe_timeout
from indigo_async.workflows.recipes.reconcile import retry_rate_limited, send_and_verify

__all__ = [
    "DEFAULT_TIMEOUT",
    "NULL_JOB_LOG",
    "JobLog",
    "NullJobLog",
    "RecipeContext",
    "StopFlag",
    "check_client",
    "recipe_scope",
]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async.recipes")
_reuse_logger = logging.getLogger("indigo_async.recipes.reuse")
"""Users can silence this logger alone: a batch that runs again without a journal reuses everything."""

DEFAULT_TIMEOUT = 4 * 3600.0
"""Default timeout of a recipe, in seconds."""


def check_client(check: InputCheck, client: object, on_event: object = None) -> None:
    """Check the arguments that all recipes and batches have: a client, not a blocking one, and a listener."""
    if not isinstance(client, IndigoClient):
        kind = type(client)
        check.add("client", f"must be an indigo_async.IndigoClient, not {kind.__module__}.{kind.__qualname__}")
    check.listener(on_event)


class JobLog(Protocol):
    """What earlier runs did for one job. Facts are small JSON objects."""

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        """Return the recorded result of a stage."""
        ...

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        """Return what a run was about to send, if it never recorded the outcome."""
        ...

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record that a POST is about to be sent. Returns when it may be sent."""
        ...

    async def cancel_intent(self, stage: Stage) -> None:
        """Record that the last intended POST was certainly not carried out."""
        ...

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record the result of a stage."""
        ...


class NullJobLog:
    """The log of a recipe without a journal: the server's records are all there is."""

    def result(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:  # noqa: ARG002 - the protocol's parameter
        return None

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...

    async def cancel_intent(self, stage: Stage) -> None: ...

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None: ...


NULL_JOB_LOG = NullJobLog()


@attrs.define
class StopFlag:
    """Shared by the jobs of a batch: once it has a `reason`, no job sends another POST."""

    reason: str | None = None


@attrs.define(eq=False)
class RecipeContext:
    """One recipe in progress: what its stages share.

    `current_stage`, `audience`, `quote` (the priced export) and `timings` (seconds by stage) show how far it got.
    `new_price_cents` is the quote's price without what earlier runs paid for it.
    `created_ids` are the IDs of audiences created in this run, so nobody can have exported them before. `lost_uploads`
    counts uploads without a response; each may have left a stub, which is harmless and free. `deadline` is when the
    recipe gives up, in event loop time. `last_poll` describes the last status checks of a wait that was given up.
    `warnings` are for the user; add to them with `warn`.

    For the advice after a timeout: `requested` is how far the current stage's audience got. `buys_another` means that
    the recipe may purchase an export although one is already purchased.
    """

    client: IndigoClient
    customer_id: str | None
    audience_name: str
    name_index: NameIndex = attrs.field(default=attrs.Factory(lambda self: NameIndex(self.client), takes_self=True))
    job_log: JobLog = NULL_JOB_LOG
    budget: Budget = attrs.Factory(Budget)
    account: Account = attrs.Factory(Account)
    stop_flag: StopFlag = attrs.Factory(StopFlag)
    publisher: Publisher | None = None
    created_ids: tuple[str, ...] = ()
    current_stage: Stage = Stage.UPLOAD
    audience: Audience | None = None
    quote: CsvExport | None = None
    new_price_cents: int = 0
    lost_uploads: int = 0
    deadline: float | None = None
    last_poll: str | None = None
    requested: Requested = Requested.NOTHING
    buys_another: bool = False
    warnings: tuple[str, ...] = ()
    timings: dict[Stage, float] = attrs.Factory(dict[Stage, float])

    @property
    def required_customer_id(self) -> str:
        """The customer ID, for stages that can't do without one."""
        if self.customer_id is None:
            raise ValueError("this recipe needs a customer")
        return self.customer_id

    def emit(self, event_type: Callable[..., WorkflowEvent], **fields: object) -> None:
        """Emit an event about this recipe's customer and audience, if anyone receives it."""
        if has_listener():
            emit(event_type(customer_id=self.customer_id, audience_name=self.audience_name, **fields))

    @contextmanager
    def stage(self, stage: Stage) -> Generator[None]:
        """Run the block as a stage of the recipe: timed, with its events."""
        clock = asyncio.get_running_loop().time
        self.current_stage = stage
        self.emit(StageStarted, stage=stage)
        started_at = clock()
        try:
            yield
        except BaseException as error:
            self.emit(StageFailed, stage=stage, seconds=clock() - started_at, error_type=type(error).__name__)
            raise
        self.timings[stage] = seconds = clock() - started_at
        self.emit(StageFinished, stage=stage, seconds=seconds)

    @asynccontextmanager
    async def time_limit(self, seconds: float | None) -> AsyncGenerator[None]:
        """Limit the block to some seconds, as `asyncio.timeout` does. Its waits know that deadline."""
        outer = self.deadline
        async with asyncio.timeout(seconds) as limit:
            self.deadline = min((time for time in (outer, limit.when()) if time is not None), default=None)
            try:
                yield
            finally:
                self.deadline = outer

    def set_quote(self, export: CsvExport) -> None:
        """Record an export that the server has priced."""
        self.quote = export
        self.new_price_cents = max(0, (export.cost_cents or 0) - self.recorded_price(export.id))

    def recorded_price(self, export_id: RecordId) -> int:
        """The cents that the journal's budget counts for an export that was or may have been purchased."""
        recorded = (self.job_log.open_intent(Stage.PURCHASE), self.job_log.result(Stage.PURCHASE))
        same = (facts for facts in recorded if facts is not None and str(facts["export_id"]) == str(export_id))
        return max((int(facts["cost_cents"]) for facts in same), default=0)

    def warn(self, message: str, *, logger: logging.Logger = _logger) -> None:
        """Log a warning, emit it, and keep it for the job's outcome. A repeated message counts once."""
        if message in self.warnings:
            return
        self.warnings += (message,)
        self._log_and_emit(logger, RecipeWarning, stage=self.current_stage, message=message)

    def report_reuse(
        self, event_type: type[AudienceReused | ExportReused], *, warning: str | None = None, **fields: object
    ) -> None:
        """Emit a reuse and log it once: as a warning if there is something for the user to check, otherwise as INFO."""
        if warning is None:
            self._log_and_emit(_reuse_logger, event_type, **fields)
        else:
            self.emit(event_type, **fields)
            self.warn(warning, logger=_reuse_logger)

    def _log_and_emit(self, logger: logging.Logger, event_type: Callable[..., WorkflowEvent], **fields: object) -> None:
        event = event_type(customer_id=self.customer_id, audience_name=self.audience_name, **fields)
        log_event(logger, event)
        emit(event)

    def raise_if_stopped(self) -> None:
        """Raise if nothing more may be sent.

        Raises:
            WorkflowError: the batch has stopped.
        """
        if self.stop_flag.reason is not None:
            raise WorkflowError(
                f"nothing more is sent, because the batch stopped: {self.stop_flag.reason}",
                stage=self.current_stage,
                audience=self.audience,
            )

    async def get_audience(self, audience_id: RecordId) -> Audience:
        """Read an audience with a single GET, which waits as long as a rate limit asks.

        Raises:
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: it can't be read.
        """
        return await retry_rate_limited(
            lambda: self.client.get_audience(audience_id, self.customer_id), retry=self.client.options.retry
        )

    async def post(
        self,
        send: Callable[[], Awaitable[T]],
        find_outcome: Callable[[], Awaitable[T | None]] | None,
        *,
        on_unknown_outcome: Callable[[], object] | None = None,
    ) -> T:
        """Send a POST until its outcome is certain; see `send_and_verify`.

        Raises:
            WorkflowError: the batch has stopped, and nothing was sent.
        """

        async def send_unless_stopped() -> T:
            self.raise_if_stopped()
            return await send()

        return await send_and_verify(
            send_unless_stopped,
            find_outcome,
            retry=self.client.options.retry,
            on_unknown_outcome=on_unknown_outcome,
        )


@contextmanager
def recipe_scope(
    context: RecipeContext, recipe: str, limit: SharedTimeout, *, on_event: Listener | None = None
) -> Generator[RecipeContext]:
    """Run the block as a recipe: within its deadline, its events sent to the client's listener and to `on_event`.

    Raises:
        ClientNotOpenError: the client can't be used here.
        WaitTimeoutError: the deadline passed.
    """
    context.client.transport.require_open()
    clock = asyncio.get_running_loop().time
    deadline = limit.scope()
    with listen(combine_listeners(context.client.transport.on_event, on_event)), wait_out_outages():
        started_at = clock()
        context.emit(RecipeStarted, recipe=recipe)
        try:
            try:
                with deadline:
                    context.deadline = deadline.deadline
                    yield context
            except TimeoutError:
                if not deadline.expired:  # a file system's, say
                    raise
                raise WaitTimeoutError(
                    describe_timeout(context, recipe, limit.seconds),
                    stage=context.current_stage,
                    audience=context.audience,
                ) from None
        except BaseException as error:
            context.emit(
                RecipeFailed,
                recipe=recipe,
                seconds=clock() - started_at,
                stage=context.current_stage,
                error_type=type(error).__name__,
            )
            if isinstance(error, asyncio.CancelledError):
                raise asyncio.CancelledError(*error.args) from None  # Ctrl-C shows only the caller's frames
            raise
        context.emit(RecipeFinished, recipe=recipe, seconds=clock() - started_at)
