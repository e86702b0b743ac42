"""One attempt of a request, told to a client's listener. Clients without one never come here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from indigo_async._transport.retry import NoResponse, Response
from indigo_async.events import Listener, RequestEnded, RequestStarted, notify

__all__ = ["send_with_events"]


async def send_with_events(
    listener: Listener,
    endpoint: str,
    attempt: int,
    sending: Awaitable[Response | NoResponse],
) -> Response | NoResponse:
    """Send, and tell how it began and ended; what is raised (also for cancellation) is told, too."""
    clock = asyncio.get_running_loop().time
    notify(listener, RequestStarted(endpoint=endpoint, attempt=attempt))
    began = clock()
    status, error_type = None, None
    try:
        outcome = await sending
        if isinstance(outcome, Response):
            status = outcome.status
        else:
            error_type = outcome.reason.name.lower()
    except BaseException as error:
        error_type = type(error).__name__
        raise
    finally:
        seconds = clock() - began
        ended = RequestEnded(endpoint=endpoint, attempt=attempt, seconds=seconds, status=status, error_type=error_type)
        notify(listener, ended)
    return outcome
