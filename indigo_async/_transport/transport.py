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
from weakref import WeakValueDictionary

import aiohttp
import attrs
from yarl import URL

from indigo_async._listeners import emit, notify
from indigo_async._redaction import Secrets, sanitize_text
from indigo_async._settings import Settings
from indigo_async._transport import codec
from indigo_async._transport.admission import Admission
from indigo_async._transport.auth import Credentials
from indigo_async._transport.cancellation import running_loop
from indigo_async._transport.error_bodies import is_web_page
from indigo_async._transport.errors import describe_unreadable, make_error, parse_json_response
from indigo_async._transport.http_session import HttpSession
from indigo_async._transport.options import RequestOptions
from indigo_async._transport.outage import CircuitBreaker, Outage, may_wait_out_outages
from indigo_async._transport.pacing import Pacer, Pacing
from indigo_async._transport.pages import PageTrail
from indigo_async._transport.parameters import Query
from indigo_async._transport.proxies import Proxies
from indigo_async._transport.response_details import (
    ResponseDetails,
    add_details,
    describe_for_event,
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
    IndigoError,
    ResponseDecodeError,
)
from indigo_async.events import Listener, RequestEnded, RequestRetried, RequestStarted

__all__ = ["ResponseParser", "SendState", "SendTooLateError", "Transport", "parse_document", "parse_page"]

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


ResponseParser: TypeAlias = Callable[[Response, Endpoint, Secrets], Any]
"""Decodes a 2xx response. It raises `ResponseDecodeError` if that isn't JSON, `ApiError` if it holds an error."""

_ResponseReader: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[Response | NoResponse]]


def parse_document(response: Response, endpoint: Endpoint, secrets: Secrets) -> Any:
    """Return the JSON of a response; a record without its envelope."""
    return parse_json_response(response.body, endpoint, secrets=secrets)


def parse_page(response: Response, endpoint: Endpoint, secrets: Secrets) -> tuple[Any, Mapping[str, str]]:
    """Return the JSON of a list's page, and the headers, which may say where the next page is.

    The rows of an array are not decoded yet, since a long list would block the event loop.
    """
    rows = codec.split_array(response.body)
    return parse_document(response, endpoint, secrets) if rows is None else rows, response.headers


class Transport:
    """Sends requests to the API: paced, timed out, retried, decoded.

    `requests` counts requests by endpoint, `failed_requests` those without a 2xx response by HTTP status or reason.
    `first_success` is set after the first 2xx response.
    """

    first_success: asyncio.Event
    breaker: CircuitBreaker
    _admission: Admission
    _clock: Callable[[], float]
    _timeouts: WeakValueDictionary[float, SharedTimeout]
    """By seconds: those that requests are using, and the client's own."""

    def __init__(
        self,
        settings: Settings,
        *,
        options: RequestOptions,
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
        self._options = options
        self._credentials = Credentials(settings.token)
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
        self._clock = running_loop().time
        self._pacer = Pacer(self._pacing)
        self.first_success = asyncio.Event()
        self.breaker = CircuitBreaker(
            self._options.retry, self.max_probe_interval, server=self.base_url, on_event=self.on_event
        )
        self._admission = Admission(self.breaker, self._require_open)
        self._timeouts = WeakValueDictionary()
        self._own_timeout = self._timeout(self._options.timeout)

    async def close(self) -> None:
        self._pacer = None
        self.breaker.release()
        await self.http.close()

    def abandon(self) -> None:
        """Close the connections of a client that nobody can close any more, from any thread."""
        if self._pacer is not None:
            self.breaker.release()
        self.http.abandon()

    async def call(
        self,
        endpoint: Endpoint,
        *,
        options: RequestOptions,
        query: Query | None = None,
        body: bytes | None = None,
        send_state: SendState | None = None,
        parse: ResponseParser = parse_document,
    ) -> Any:
        """Send a request until it succeeds or the retry policy gives up. Returns what `parse` makes of a 2xx response.

        If it isn't JSON, a GET is retried, and a POST fails with its outcome unknown.

        Raises:
            ApiError, TransportError, ResponseDecodeError: the last attempt failed, or a 2xx response holds an error.
            SendTooLateError: `send_state.send_by` has passed.
        """
        state = SendState() if send_state is None else send_state
        latency_group = endpoint.name if endpoint.idempotent else None  # a POST's latency depends on its work
        retry = options.retry
        elapsed = 0.0  # excludes the time in our own queue, where thousands of jobs may wait; includes outages
        attempt = 0
        while True:
            pacer = self._require_open()
            attempt += 1
            pacer, held = await self._admission.acquire_slot(
                pacer,
                endpoint,
                request_timeout=options.timeout,
                max_pause=retry.timeout - elapsed if state.may_resend else math.inf,
            )
            elapsed += held
            started = self._clock()
            if state.send_by is not None and started > state.send_by:
                pacer.release(is_write=not endpoint.idempotent)
                raise SendTooLateError(f"{endpoint.name}: waited too long for a slot, so nothing was sent")
            outcome = await self._attempt(
                pacer,
                endpoint,
                query,
                body,
                state,
                options=options,
                read=read_response,
                latency_group=latency_group,
                attempt=attempt,
            )
            elapsed += self._clock() - started
            if isinstance(outcome, Response) and outcome.ok:
                try:
                    return parse(outcome, endpoint, self.secrets(options))
                except ApiError as error:
                    add_details(error, describe_response(outcome, self.secrets(options)))
                    del outcome
                    raise error.with_traceback(None) from None  # no frame of an error may hold the body
                except ResponseDecodeError:
                    state.outcome_unknown = True
                    outcome = describe_unreadable(outcome)
            delay = retry_delay(
                endpoint,
                outcome,
                policy=retry,
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
                    raise make_error(endpoint, outcome, secrets=self.secrets(options), base_url=self.base_url)
                finally:
                    del outcome  # as above
            reason = _failure_label(outcome)
            emit(
                RequestRetried(
                    endpoint=endpoint.name,
                    attempt=attempt,
                    delay=delay,
                    reason=reason,
                    request_id=find_request_id(outcome.headers or {}, self.secrets(options)),
                ),
                default=self.on_event,
            )
            await asyncio.sleep(delay)
            elapsed += delay

    def _goes_on_after_outage(self, endpoint: Endpoint, outcome: Response | NoResponse, *, since: float) -> bool:
        return self.is_waiting_out_outage(since=since) and is_retryable(endpoint, outcome)

    async def stream(
        self,
        endpoint: Endpoint,
        sink: BodySink,
        *,
        options: RequestOptions,
        query: Mapping[str, str],
        measure_latency: bool = True,
    ) -> float:
        """Send a GET once and feed its 2xx body to `sink`, whose exceptions end the request.

        Set `measure_latency` to false if the latency depends on the response's size more than on the server's load.
        Returns the seconds from getting a slot to the end of the body, including the sink's own work.

        Raises:
            ApiError, TransportError, ResponseDecodeError: there was no 2xx response, or it was cut off.
        """
        pacer, _ = await self._admission.acquire_slot(
            self._require_open(), endpoint, request_timeout=options.timeout, max_pause=options.retry.timeout
        )
        started = self._clock()
        outcome = await self._attempt(
            pacer,
            endpoint,
            query,
            None,
            SendState(),
            options=options,
            read=partial(stream_into, sink),
            latency_group=endpoint.name if measure_latency else None,
        )
        if isinstance(outcome, NoResponse) or not outcome.ok:
            try:
                raise make_error(endpoint, outcome, secrets=self.secrets(options), base_url=self.base_url)
            finally:
                del outcome  # as above
        return self._clock() - started

    def start_list(self, endpoint: Endpoint, query: Query) -> PageTrail:
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
        """The current outage, in which requests are held."""
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
        return self._credentials.token

    def secrets(self, options: RequestOptions) -> Secrets:
        """Return what errors must not show: the current token, and the values of the caller's headers."""
        token = self._credentials.token
        return (token, *options.secrets) if options.secrets else token

    @property
    def slot_seconds(self) -> float:
        """The minimum cost of a request under the current rate limit, in seconds of one slot."""
        return self._require_open().slot_seconds

    def _require_open(self) -> Pacer:
        self.http.require_open()
        if self._pacer is None:
            raise ClientNotOpenError("the client is being opened or closed")
        return self._pacer

    def _url(self, endpoint: Endpoint, query: Query | None) -> URL:
        url = URL(f"{self.base_url}{endpoint.path}", encoded=True)
        return url.with_query(query) if query else url

    async def _attempt(
        self,
        pacer: Pacer,
        endpoint: Endpoint,
        query: Query | None,
        body: bytes | None,
        state: SendState,
        *,
        options: RequestOptions,
        read: _ResponseReader,
        latency_group: str | None,
        attempt: int = 1,
    ) -> Response | NoResponse:
        """Send once in the acquired slot, then release it.

        A request that failed with 401 was not processed, so it is sent again, even a POST, if there is a new token.
        """
        state.outcome_unknown = True
        try:
            for may_refresh in (True, False):
                self.requests[endpoint.name] += 1
                if self.on_event is not None:
                    notify(self.on_event, RequestStarted(endpoint=endpoint.name, attempt=attempt))
                token = self._credentials.token
                started = self._clock()
                try:
                    outcome = await self._send(endpoint, self._url(endpoint, query), body, options, read=read)
                except BaseException as error:
                    self._notify_ended(endpoint, attempt, started, error, options)
                    raise
                self._notify_ended(endpoint, attempt, started, outcome, options)
                if not is_unauthorized(outcome):
                    break
                if not (may_refresh and await self._credentials.refresh(token)):
                    break
                state.token_refreshed = True
                if state.stop_requested or not state.may_resend:
                    break
            if isinstance(outcome, Response) and outcome.ok and is_web_page(outcome.body, ""):
                outcome = describe_unreadable(outcome)
            if isinstance(outcome, Response) and outcome.ok:
                is_small = len(outcome.body) <= _MAX_BYTES_FOR_LATENCY
                pacer.record_accepted(started=started, latency_group=latency_group if is_small else None)
                self.breaker.record_success()
                self.first_success.set()
                state.outcome_unknown = False
            else:
                outcome = self._check_for_outage(outcome, timeout=options.timeout)
                self.failed_requests[_failure_label(outcome)] += 1
                pacer.record_failure(outcome, started=started)
                self._warn_about_absurd_retry_after(endpoint, outcome)
                state.outcome_unknown = is_outcome_unknown(outcome)
        finally:
            pacer.release(is_write=not endpoint.idempotent)
        return outcome

    def _check_for_outage(self, outcome: Response | NoResponse, *, timeout: float) -> Response | NoResponse:
        """Report an outcome other than a 2xx response to the circuit breaker.

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
                self.breaker.record_failure(f"{outcome.reason.value}: {outcome.detail}", timeout=timeout)
        elif outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.breaker.record_failure(f"HTTP {outcome.status}", timeout=timeout)
        else:
            self.breaker.record_success()
        return outcome

    def _notify_ended(
        self,
        endpoint: Endpoint,
        attempt: int,
        started: float,
        outcome: Response | NoResponse | BaseException,
        options: RequestOptions,
    ) -> None:
        if self.on_event is None:
            return
        seconds = self._clock() - started
        status, error_type = None, None
        if isinstance(outcome, Response):
            status = outcome.status
        else:
            error_type = outcome.reason.name.lower() if isinstance(outcome, NoResponse) else type(outcome).__name__
        secrets = self.secrets(options)
        details = ResponseDetails() if isinstance(outcome, BaseException) else describe_for_event(outcome, secrets)
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
        self, endpoint: Endpoint, url: URL, body: bytes | None, options: RequestOptions, *, read: _ResponseReader
    ) -> Response | NoResponse:
        headers: Mapping[str, str] | None = None
        remember_head(headers)
        try:
            with self._timeout(options.timeout).scope():
                response = await self.http.request(endpoint, url, body, options)
                if isinstance(response, NoResponse):
                    return response
                async with response:
                    headers = response.headers
                    remember_head(headers, self.secrets(options))
                    outcome = await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = self.http.explain(error, url)
        return attrs.evolve(outcome, headers=headers) if isinstance(outcome, NoResponse) else outcome

    def _timeout(self, seconds: float) -> SharedTimeout:
        """Return the timeout that all current requests with this time limit share."""
        timeout = self._timeouts.get(seconds)
        if timeout is None:
            timeout = self._timeouts[seconds] = SharedTimeout(seconds)
        return timeout

    def _warn_about_absurd_retry_after(self, endpoint: Endpoint, outcome: Response | NoResponse) -> None:
        if self._has_warned_about_retry_after or isinstance(outcome, NoResponse) or not has_absurd_retry_after(outcome):
            return
        self._has_warned_about_retry_after = True
        value = sanitize_text(outcome.headers["retry-after"])[:_MAX_RETRY_AFTER_LENGTH]
        _logger.warning("%s: Retry-After %r is ignored: it is not a time of up to an hour", endpoint, value)


def _failure_label(outcome: Response | NoResponse) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else outcome.reason.value
