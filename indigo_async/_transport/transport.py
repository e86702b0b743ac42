"""Sends requests: `call` (outage, queue, retry, decode) → `_attempt` (one slot, one try, its events) → `_send` (HTTP).

What happens on the network is returned as a `Response` or a `NoResponse`, never raised: an exception that is made from
these refers to no frames or exceptions of aiohttp, which hold headers and signed URLs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import aiohttp
import anyio
import attrs
from yarl import URL

from indigo_async._listeners import emit, notify
from indigo_async._redaction import sanitize_text
from indigo_async._settings import Settings
from indigo_async._transport.auth import Credentials
from indigo_async._transport.cancellation import running_loop
from indigo_async._transport.error_bodies import is_web_page
from indigo_async._transport.errors import describe_unreadable, make_error, parse_json_response
from indigo_async._transport.http_session import HttpSession
from indigo_async._transport.outage import CircuitBreaker, Outage, may_wait_out_outages
from indigo_async._transport.pacing import Pacer, Pacing
from indigo_async._transport.pages import PageTrail
from indigo_async._transport.proxies import Proxies
from indigo_async._transport.response_details import (
    ResponseDetails,
    add_details,
    describe_outcome,
    describe_response,
    find_request_id,
    remember_head,
)
from indigo_async._transport.responses import (
    BodySink,
    Endpoint,
    FailureReason,
    NoResponse,
    Response,
    read_response,
    stream_into,
)
from indigo_async._transport.retry import (
    RetryPolicy,
    has_absurd_retry_after,
    is_outcome_unknown,
    is_retryable,
    is_unauthorized,
    retry_delay,
)
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.errors import (
    ApiError,
    ClientNotOpenError,
    ConnectionFailedError,
    IndigoError,
    RateLimitedError,
    ResponseDecodeError,
)
from indigo_async.events import Listener, RequestEnded, RequestRetried, RequestStarted

__all__ = ["SendState", "SendTooLateError", "Transport"]

# The latency of a larger response depends on its size more than on the server's load.
_MAX_BYTES_FOR_LATENCY = 64 * 1024
_MAX_RETRY_AFTER_LENGTH = 40

_MAX_SIGN_LENGTH = 40

_logger = logging.getLogger("indigo_async")


@attrs.define
class SendState:
    """The state of a POST while it is in flight, shared with its caller.

    - `outcome_unknown` is true from sending until the outcome is known or was read from the server.
    - `unknown_outcomes` counts attempts without a known outcome. A read that shows nothing doesn't settle them: the
      server may still process a late request.
    - `stop_requested`: the caller sets it to let the current attempt end but send nothing more.
    - `may_resend`: if false, the request is sent at most once, whatever happens. `token_refreshed` then tells whether
      it failed with 401 and the token has been replaced since.
    - `send_by` (event-loop time): the request is not sent after this.
    """

    outcome_unknown: bool = False
    unknown_outcomes: int = 0
    stop_requested: bool = False
    may_resend: bool = True
    send_by: float | None = None
    token_refreshed: bool = False


class SendTooLateError(IndigoError):
    """The request got its slot after `SendState.send_by`, so it was not sent."""


_ResponseReader: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[Response | NoResponse]]


class Transport:
    """Sends requests to the API: paced, timed out, retried, decoded.

    `requests` counts requests by endpoint, `failed_requests` those without a 2xx response by HTTP status or reason.
    `first_success` is set after the first 2xx response.
    """

    first_success: asyncio.Event
    breaker: CircuitBreaker
    _shared_timeout: SharedTimeout

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: RetryPolicy,
        pacing: Pacing,
        max_downloads: int,
        max_probe_interval: float,
        session: aiohttp.ClientSession | None,
        proxies: Proxies,
        on_event: Listener | None = None,
    ) -> None:
        self.on_event = on_event
        self.requests: Counter[str] = Counter()
        self.failed_requests: Counter[str] = Counter()
        self.base_url: str = settings.base_url
        self.retry = retry
        self._credentials = Credentials(settings.token)
        self._timeout = timeout
        self._pacing = pacing
        self._pacer: Pacer | None = None
        self.max_probe_interval = max_probe_interval
        self.http: HttpSession = HttpSession(
            session,
            credentials=self._credentials,
            base_url=settings.base_url,
            proxies=proxies,
            # A request's timeout runs while it waits for a connection, so downloads get their own.
            max_connections=pacing.max_concurrency + max_downloads,
            timeout=timeout,
        )
        self._has_warned_about_retry_after = False
        self._has_warned_about_unread = False

    async def open(self) -> None:
        """Open the transport in the running event loop.

        Raises:
            ClientNotOpenError: it is open already, or no session can be used in this event loop.
            InvalidInputError: the token or the environment's certificates can't be used.
        """
        await self.http.open()
        self._pacer = Pacer(self._pacing)
        self.first_success = asyncio.Event()
        self.breaker = CircuitBreaker(self.retry, self.max_probe_interval, server=self.base_url, on_event=self.on_event)
        self._shared_timeout = SharedTimeout(self._timeout)

    async def close(self) -> None:
        self._pacer = None
        self.breaker.release()
        await self.http.close()

    async def call(
        self,
        endpoint: Endpoint,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        send_state: SendState | None = None,
        on_headers: Callable[[Mapping[str, str]], object] | None = None,
    ) -> Any:
        """Send a request until it succeeds or the retry policy gives up. Returns the response's JSON.

        `on_headers` is called with the headers of a 2xx response.
        After a 2xx response that isn't JSON, a GET is retried, and a POST fails with its outcome unknown.

        Raises:
            ApiError, TransportError, ResponseDecodeError: the last attempt failed, or a 2xx response holds an error.
            SendTooLateError: `send_state.send_by` has passed.
        """
        state = SendState() if send_state is None else send_state
        url = self._url(endpoint, query)
        clock = running_loop().time
        latency_group = endpoint.name if endpoint.idempotent else None  # a POST's latency depends on its work
        elapsed = 0.0  # excludes the time in our own queue, where thousands of jobs may wait; includes outages
        attempt = 0
        while True:
            attempt += 1
            pacer, held = await self._acquire_slot(
                endpoint, max_pause=self.retry.timeout - elapsed if state.may_resend else math.inf
            )
            elapsed += held
            started = clock()
            if state.send_by is not None and started > state.send_by:
                pacer.release(is_write=not endpoint.idempotent)
                raise SendTooLateError(f"{endpoint.name}: waited too long for a slot, so nothing was sent")
            outcome = await self._attempt(
                pacer, endpoint, url, body, state, read=read_response, latency_group=latency_group, attempt=attempt
            )
            elapsed += clock() - started
            if isinstance(outcome, Response) and outcome.ok:
                if on_headers is not None:
                    on_headers(outcome.headers)
                try:
                    return parse_json_response(outcome.body, endpoint, secrets=self.token)
                except ApiError as error:
                    add_details(error, describe_response(outcome, self.token))
                    del outcome
                    raise error.with_traceback(None) from None  # no frame of an error may hold the body
                except ResponseDecodeError:
                    state.outcome_unknown = True
                    outcome = describe_unreadable(outcome)
            delay = retry_delay(
                endpoint,
                outcome,
                policy=self.retry,
                attempt=attempt,
                elapsed=elapsed,
                jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
                has_worked=self.first_success.is_set(),
            )
            is_final = state.stop_requested or not state.may_resend
            if delay is None and not is_final and self._goes_on_after_outage(endpoint, outcome, since=started):
                attempt, elapsed = 0, 0.0
                continue
            if delay is None or is_final:
                try:
                    raise make_error(endpoint, outcome, secrets=self.token, base_url=self.base_url)
                finally:
                    del outcome  # as above
            reason = _failure_label(outcome)
            emit(
                RequestRetried(
                    endpoint=endpoint.name,
                    attempt=attempt,
                    delay=delay,
                    reason=reason,
                    request_id=find_request_id(outcome.headers or {}, self.token),
                ),
                default=self.on_event,
            )
            await asyncio.sleep(delay)
            elapsed += delay

    def _goes_on_after_outage(self, endpoint: Endpoint, outcome: Response | NoResponse, *, since: float) -> bool:
        return self.is_waiting_out_outage(since=since) and is_retryable(endpoint, outcome)

    async def stream(
        self, endpoint: Endpoint, sink: BodySink, *, query: Mapping[str, str], measure_latency: bool = True
    ) -> float:
        """Send a GET once and feed its 2xx body to `sink`, whose exceptions end the request.

        Set `measure_latency` to false if the latency depends on the response's size more than on the server's load.
        Returns the seconds from getting a slot to the end of the body, including the sink's own work.

        Raises:
            ApiError, TransportError, ResponseDecodeError: there was no 2xx response, or it was cut off.
        """
        pacer, _ = await self._acquire_slot(endpoint, max_pause=self.retry.timeout)
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome = await self._attempt(
            pacer,
            endpoint,
            self._url(endpoint, query),
            None,
            SendState(),
            read=partial(stream_into, sink),
            latency_group=endpoint.name if measure_latency else None,
        )
        if isinstance(outcome, NoResponse) or not outcome.ok:
            try:
                raise make_error(endpoint, outcome, secrets=self.token, base_url=self.base_url)
            finally:
                del outcome  # as above
        return clock() - started

    def start_list(self, endpoint: Endpoint, query: Mapping[str, str]) -> PageTrail:
        """Return the trail of a list's pages, beginning with the request for its first one."""
        return PageTrail(self._url(endpoint, query))

    def warn_about_unread(self, endpoint: Endpoint, sign: str) -> None:
        """Log once per client that a list has rows that can't be read."""
        if self._has_warned_about_unread:
            return
        self._has_warned_about_unread = True
        _logger.warning(
            "%s: the list says that there are more audiences (%s), but not how to read them",
            endpoint,
            sanitize_text(sign)[:_MAX_SIGN_LENGTH],
        )

    def require_open(self) -> None:
        """Check that requests can be sent.

        Raises:
            ClientNotOpenError: they can't.
        """
        self._require_open()

    @property
    def outage(self) -> Outage | None:
        """The current outage, in which all requests are held."""
        return self.breaker.outage

    def is_waiting_out_outage(self, *, since: float = math.inf) -> bool:
        """Whether the current task may wait out outages, and there is one, or was one at or after `since` (loop time).

        A request may still time out long after the outage in which it was sent.
        """
        return may_wait_out_outages() and self.breaker.had_outage_since(since)

    def is_waiting_out_host_outage(self, host: str | None, failing_since: float) -> bool:
        """Whether a download should keep trying although this host has failed since `failing_since` (loop time).

        It should if the current task may wait, and either the API is down as well, or this host responded before
        and has not responded since.
        """
        if host is None or not may_wait_out_outages():
            return False
        return self.breaker.outage is not None or self.http.has_answered_nobody_since(host, failing_since)

    @property
    def token(self) -> str:
        """The current token, which errors must not show."""
        return self._credentials.token

    @property
    def slot_seconds(self) -> float:
        """The minimum cost of a request under the current rate limit, in seconds of one slot."""
        return self._require_open().slot_seconds

    def _require_open(self) -> Pacer:
        self.http.require_open()
        if self._pacer is None:
            raise ClientNotOpenError("the client is being closed")
        return self._pacer

    def _url(self, endpoint: Endpoint, query: Mapping[str, str] | None) -> URL:
        url = URL(f"{self.base_url}{endpoint.path}", encoded=True)
        return url.with_query(query) if query else url

    async def _acquire_slot(self, endpoint: Endpoint, *, max_pause: float) -> tuple[Pacer, float]:
        """Wait for the end of an outage and for a slot. Also returns how much of `max_pause` the outage took.

        Raises:
            ConnectionFailedError: the outage lasts longer than `max_pause` seconds.
            RateLimitedError: the server's `Retry-After` pauses all requests for longer than that.
        """
        held = 0.0
        while True:
            self._require_open()
            is_probe = False
            if self.breaker.outage is not None:
                is_probe, seconds = await self._hold(endpoint, max_pause - held)
                held += seconds
            pacer = await self._acquire_from_pacer(endpoint, max_pause=max_pause - held)
            if is_probe or self.breaker.outage is None:
                return pacer, held
            pacer.release(is_write=not endpoint.idempotent)

    async def _hold(self, endpoint: Endpoint, seconds: float) -> tuple[bool, float]:
        """Wait until the outage is over, or until it is this request's turn to probe.

        Returns whether it is to find out, and the seconds spent. A caller that may wait longer spends none.
        """
        if may_wait_out_outages():
            return await self.breaker.hold(is_write=not endpoint.idempotent), 0.0
        clock = asyncio.get_running_loop().time
        held_from = clock()
        with anyio.move_on_after(max(seconds, 0.0)):
            is_probe = await self.breaker.hold(is_write=not endpoint.idempotent)
            return is_probe, clock() - held_from
        outage = self.breaker.outage
        message = (
            "nothing was sent"
            if outage is None
            else f"the server is not responding ({outage.reason}); nothing was sent"
        )
        raise ConnectionFailedError(message, endpoint=endpoint.name)

    async def _acquire_from_pacer(self, endpoint: Endpoint, *, max_pause: float) -> Pacer:
        pacer = self._require_open()
        if not pacer.try_acquire(is_write=not endpoint.idempotent):
            pause = pacer.pause_remaining()
            if pause > max(max_pause, 0.0):
                message = "the server asked all requests to wait longer than the retry budget"
                raise RateLimitedError(
                    HTTPStatus.TOO_MANY_REQUESTS.value, message, None, endpoint.name, retry_after=pause
                )
            await pacer.acquire(is_write=not endpoint.idempotent)
        return pacer

    async def _attempt(
        self,
        pacer: Pacer,
        endpoint: Endpoint,
        url: URL,
        body: bytes | None,
        state: SendState,
        *,
        read: _ResponseReader,
        latency_group: str | None,
        attempt: int = 1,
    ) -> Response | NoResponse:
        """Send once in the acquired slot, then release it.

        A request that failed with 401 was not processed, so it is sent again, even a POST, if there is a new token.
        """
        clock = asyncio.get_running_loop().time
        state.outcome_unknown = True
        try:
            for may_refresh in (True, False):
                self.requests[endpoint.name] += 1
                if self.on_event is not None:
                    notify(self.on_event, RequestStarted(endpoint=endpoint.name, attempt=attempt))
                token = self._credentials.token
                started = clock()
                try:
                    outcome = await self._send(endpoint, url, body, read)
                except BaseException as error:
                    self._notify_ended(endpoint, attempt, clock() - started, error)
                    raise
                self._notify_ended(endpoint, attempt, clock() - started, outcome)
                if not is_unauthorized(outcome):
                    break
                if not (may_refresh and await self._credentials.refresh(token)):
                    break
                state.token_refreshed = True
                if state.stop_requested or not state.may_resend:
                    break
            if isinstance(outcome, Response) and outcome.ok and is_web_page(outcome.body, ""):
                outcome = describe_unreadable(outcome)
            outcome = self._check_for_outage(outcome)
            if isinstance(outcome, Response) and outcome.ok:
                is_small = len(outcome.body) <= _MAX_BYTES_FOR_LATENCY
                pacer.record_accepted(started=started, latency_group=latency_group if is_small else None)
                state.outcome_unknown = False
            else:
                self.failed_requests[_failure_label(outcome)] += 1
                pacer.record_failure(outcome, started=started)
                self._warn_about_absurd_retry_after(endpoint, outcome)
                state.outcome_unknown = is_outcome_unknown(outcome)
        finally:
            pacer.release(is_write=not endpoint.idempotent)
        return outcome

    def _check_for_outage(self, outcome: Response | NoResponse) -> Response | NoResponse:
        """Report the outcome to the circuit breaker.

        A host or certificate that worked before and now fails is part of an outage; otherwise the address is wrong,
        and waiting would not help.
        """
        if isinstance(outcome, NoResponse) and outcome.reason.is_misconfiguration:
            if not self.breaker.has_ever_worked:
                return outcome
            outcome = NoResponse(FailureReason.NOT_SENT, f"{outcome.reason.value}, {outcome.detail}")
        if isinstance(outcome, NoResponse):
            is_page = outcome.reason is FailureReason.WEB_PAGE
            if outcome.reason is not FailureReason.TOO_LARGE and (self.breaker.has_ever_worked or not is_page):
                self.breaker.record_failure(f"{outcome.reason.value}: {outcome.detail}")
        elif outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.breaker.record_failure(f"HTTP {outcome.status}")
        else:
            self.breaker.record_success()
            if outcome.ok:
                self.first_success.set()
        return outcome

    def _notify_ended(
        self, endpoint: Endpoint, attempt: int, seconds: float, outcome: Response | NoResponse | BaseException
    ) -> None:
        if self.on_event is None:
            return
        status, error_type = None, None
        if isinstance(outcome, Response):
            status = outcome.status
        else:
            error_type = outcome.reason.name.lower() if isinstance(outcome, NoResponse) else type(outcome).__name__
        details = ResponseDetails() if isinstance(outcome, BaseException) else describe_outcome(outcome, self.token)
        ended = RequestEnded(
            endpoint=endpoint.name,
            attempt=attempt,
            seconds=seconds,
            status=status,
            error_type=error_type,
            request_id=details.request_id,
            headers=details.headers,
            body=details.body,
        )
        notify(self.on_event, ended)

    async def _send(
        self, endpoint: Endpoint, url: URL, body: bytes | None, read: _ResponseReader
    ) -> Response | NoResponse:
        headers: Mapping[str, str] | None = None
        remember_head(headers)
        try:
            with self._shared_timeout.scope():
                response = await self.http.request(endpoint, url, body)
                if isinstance(response, NoResponse):
                    return response
                async with response:
                    headers = response.headers
                    remember_head(headers, self.token)
                    outcome = await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = self.http.explain(error, url)
        return attrs.evolve(outcome, headers=headers) if isinstance(outcome, NoResponse) else outcome

    def _warn_about_absurd_retry_after(self, endpoint: Endpoint, outcome: Response | NoResponse) -> None:
        if self._has_warned_about_retry_after or isinstance(outcome, NoResponse) or not has_absurd_retry_after(outcome):
            return
        self._has_warned_about_retry_after = True
        value = sanitize_text(outcome.headers["retry-after"])[:_MAX_RETRY_AFTER_LENGTH]
        _logger.warning("%s: Retry-After %r is ignored: it is not a time of up to an hour", endpoint, value)


def _failure_label(outcome: Response | NoResponse) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else outcome.reason.value
