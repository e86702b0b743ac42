"""Send requests to Temporal through its outages, and those of the workers that run its workflows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from itertools import count
from random import uniform
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import UpdateMethodMultiParam

from indigo_async._redaction import redact

__all__ = ["plain_cancellation", "send_through_outages", "start_and_update"]

A = TypeVar("A")
S = TypeVar("S")
T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_FINAL = {
    RPCStatusCode.ALREADY_EXISTS,
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
}
_SHORTEST_WAIT = 0.1
_LONGEST_WAIT = 2.0


async def send_through_outages(send: Callable[[], Awaitable[T]], *, is_wanted: Callable[[], bool] = lambda: True) -> T:
    """Send a request, and repeat it while Temporal or its workers don't respond, until the caller is canceled.

    A request whose outcome is unknown is sent again, so a repeated one must change nothing.

    Args:
        send: sends the request once, an update with the same update ID each time.
        is_wanted: a failed request is not sent again once this returns False.

    Raises:
        RPCError: Temporal refused the request, or the workflow has ended, or the request failed and is not wanted.
    """
    for attempt in count():
        try:
            with plain_cancellation():
                return await send()
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            if not is_wanted():
                raise
            reason = str(error)
        except RPCError as error:
            if error.status in _FINAL or not is_wanted():
                raise
            reason = error.message
        if attempt == 0:
            _logger.warning("Temporal is not responding (%s). The request is retried until it does", redact(reason))
        longest = min(_LONGEST_WAIT, _SHORTEST_WAIT * 2.0 ** min(attempt, 16))
        await asyncio.sleep(uniform(longest / 2, longest))  # noqa: S311 - spreads the load, no secret
    raise AssertionError("unreachable")


async def start_and_update(
    temporal: Client,
    update: UpdateMethodMultiParam[[S, A], T],
    request: A,
    *,
    start: Callable[[], WithStartWorkflowOperation[S, Any]],
) -> T:
    """Start a workflow unless it is running, and send it an update, through outages.

    Args:
        temporal: what `connect` returned.
        update: the update of the workflow. If it is repeated, it must change nothing.
        request: what the update receives.
        start: creates a new description of the workflow for each attempt.
    """
    update_id = str(uuid4())

    async def send() -> T:
        operation = start()
        try:
            return await temporal.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
                update, request, id=update_id, start_workflow_operation=operation
            )
        except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
            with suppress(RPCError):  # its handle raises the same error, and asyncio logs it unless it is awaited
                await operation.workflow_handle()
            raise

    return await send_through_outages(send)


@contextmanager
def plain_cancellation() -> Generator[None]:
    """Raise `CancelledError` if the block is canceled. Temporal raises a different error from a canceled update."""
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise
