"""The thin I/O under the policy: one aiohttp session, one attempt at a time.

The first attempt is bare: no retry object, no trace hook. An attempt never raises for what the network did; it returns
an `Answer` or a `Silence`, so that the exception raised from it carries no frames or chained errors of the HTTP
library, where headers and signed URLs stand.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import aiohttp
import attrs
from aiohttp import hdrs
from yarl import URL

from indigo_async._redaction import sanitize_text
from indigo_async._settings import Settings
from indigo_async._transport.auth import Credentials
from indigo_async._transport.pacing import Pacer, Pacing
from indigo_async._transport.request_events import send_with_events
from indigo_async._transport.responses import (
    BodySink,
    classify_failure,
    parse_json_response,
    read_response,
    stream_into,
)
from indigo_async._transport.retry import (
    Endpoint,
    FailureReason,
    NoResponse,
    Response,
    RetryPolicy,
    has_absurd_retry_after,
    is_outcome_unknown,
    make_error,
    parse_retry_after,
    retry_delay,
)
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.errors import ApiError, ClientNotOpenError, IndigoError, RateLimitedError, ResponseDecodeError
from indigo_async.events import Listener, RequestRetried, emit

__all__ = ["SendState", "SendTooLateError", "Transport"]

# Longer than any poll interval, so that a connection outlives the pause between two rounds.
_KEEPALIVE_SECONDS = 75.0
_CONNECT_SECONDS = 15.0
_MAX_BYTES_FOR_LATENCY = 64 * 1024
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_FIRST_SERVER_ERROR = 500
_MAX_RETRY_AFTER_LENGTH = 40

_logger = logging.getLogger("indigo_async")


@attrs.define
class SendState:
    """What is known of a POST while it is under way.

    `outcome_unknown` is true from the moment it leaves until its outcome is known or has been looked for.
    `unknown_outcomes` counts the attempts whose outcome nobody told: one look that shows nothing does not end such a
    doubt, since the server may carry a late request out later. Set `stop_requested` to let an attempt under way end but
    to send nothing more.

    With `may_resend` False the request is sent once at most, whatever comes of it; `token_refreshed` then says that it
    was refused for a token that has been replaced. With `send_by` (event-loop time) it is not sent at all once that has
    passed.
    """

    outcome_unknown: bool = False
    unknown_outcomes: int = 0
    stop_requested: bool = False
    may_resend: bool = True
    send_by: float | None = None
    token_refreshed: bool = False


class SendTooLateError(IndigoError):
    """The request's turn came after `Flight.send_by`, so it was not sent."""


_ResponseReader: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[Response | NoResponse]]


class Transport:
    """Sends requests to the API: paced, timed out, retried, decoded. `requests` counts them by endpoint.

    `failed_requests` counts those that had no good answer, by HTTP status or reason.
    `first_success` is set from the first good answer on.
    """

    first_success: asyncio.Event
    _shared_timeout: SharedTimeout

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: RetryPolicy,
        pacing: Pacing,
        max_downloads: int,
        session: aiohttp.ClientSession | None,
        on_event: Listener | None = None,
    ) -> None:
        self.on_event = on_event
        self.requests: Counter[str] = Counter()
        self.failed_requests: Counter[str] = Counter()
        self.base_url: str = settings.base_url
        self._credentials = Credentials(settings.token)
        self._timeout = timeout
        self.retry = retry
        self._pacing = pacing
        self._max_connections = pacing.max_concurrency + max_downloads
        self._owns_session = session is None
        self._session = session
        self._pacer: Pacer | None = None
        self._has_warned_about_retry_after = False
        self._socket_timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, timeout / 2))

    async def open(self) -> None:
        await self._credentials.open()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    # A request's timeout runs while it waits for a connection, so downloads get their own.
                    limit=self._max_connections,
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                    ttl_dns_cache=300,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        self._pacer = Pacer(self._pacing)
        self.first_success = asyncio.Event()
        self._shared_timeout = SharedTimeout(self._timeout)

    async def close(self) -> None:
        session, self._pacer = self._session, None
        if session is not None and self._owns_session:
            self._session = None
            await session.close()

    async def call(
        self,
        endpoint: Endpoint,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        send_state: SendState | None = None,
    ) -> Any:
        """Send a request until it is answered or the policy gives up. Returns the answer's JSON.

        A good answer that is no JSON counts as unreadable: a GET is sent again, a POST ends as ambiguous. `send_state`
        follows the request.

        Raises:
            ApiError, TransportError, ResponseDecodeError: how the last attempt ended, or what a good status hid.
        """
        url = self._url(endpoint, query)
        clock = asyncio.get_running_loop().time
        like = endpoint.name if endpoint.idempotent else None  # a POST's time tells how much there was to do
        spent = 0.0  # of the retry budget: without the time in our own queue, which thousands of jobs may fill
        attempt = 0
        while True:
            attempt += 1
            pacer, _ = self._require_open_pacer_and_session()
            sends_once = send_state is not None and not send_state.may_resend
            if not pacer.try_acquire(is_write=not endpoint.idempotent):
                await _wait_for_slot(pacer, endpoint, max_pause=math.inf if sends_once else self.retry.timeout - spent)
            sent = clock()
            if send_state is not None and send_state.send_by is not None and sent > send_state.send_by:
                pacer.release()
                raise SendTooLateError(f"{endpoint.name}: its turn came too late, so nothing was sent")
            outcome = await self._attempt(
                pacer, endpoint, url, body, send_state, read=read_response, latency_group=like, attempt=attempt
            )
            spent += clock() - sent
            if isinstance(outcome, Response) and outcome.ok:
                try:
                    return parse_json_response(outcome.body, endpoint, token=self.token)
                except ApiError as refusal:
                    raise refusal.with_traceback(None) from None  # deeper frames hold the body
                except ResponseDecodeError:
                    if send_state is not None:
                        send_state.outcome_unknown = True
                    kind = outcome.headers.get("content-type", "no content type")
                    outcome = NoResponse(FailureReason.UNREADABLE, f"{kind}, {len(outcome.body)} bytes")
            delay = retry_delay(
                endpoint,
                outcome,
                policy=self.retry,
                attempt=attempt,
                elapsed=spent,
                jitter=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
            if delay is None or (send_state is not None and (send_state.stop_requested or not send_state.may_resend)):
                raise make_error(endpoint, outcome, token=self.token, base_url=self.base_url)
            retried = RequestRetried(
                endpoint=endpoint.name, attempt=attempt, delay=delay, reason=_failure_label(outcome)
            )
            emit(retried, default=self.on_event)
            await asyncio.sleep(delay)
            spent += delay

    async def stream(
        self, endpoint: Endpoint, sink: BodySink, *, query: Mapping[str, str], measure_latency: bool = True
    ) -> float:
        """Send a GET once, whose good answer goes to `sink` as it comes. What `sink` raises ends the request.

        `measure_latency` says whether the time that it takes tells the server's load, rather than the answer's size.
        Returns the seconds that it took once it had a slot, the sink's own work included.

        Raises:
            ApiError, TransportError, ResponseDecodeError: there was no good answer, or it broke off.
        """
        pacer, _ = self._require_open_pacer_and_session()
        if not pacer.try_acquire(is_write=not endpoint.idempotent):
            await _wait_for_slot(pacer, endpoint, max_pause=self.retry.timeout)
        clock = asyncio.get_running_loop().time
        started = clock()
        like = endpoint.name if measure_latency else None
        outcome = await self._attempt(
            pacer, endpoint, self._url(endpoint, query), read=partial(stream_into, sink), latency_group=like
        )
        if isinstance(outcome, NoResponse) or not outcome.ok:
            raise make_error(endpoint, outcome, token=self.token, base_url=self.base_url)
        return clock() - started

    def require_open(self) -> None:
        """Make sure that requests can be sent.

        Raises:
            ClientNotOpenError: they cannot.
        """
        self._require_open_pacer_and_session()

    @property
    def token(self) -> str:
        """The token at hand, which errors must not show."""
        return self._credentials.token

    @property
    def slot_seconds(self) -> float:
        """What the pacing makes each request cost at least, in seconds of one slot."""
        return self._require_open_pacer_and_session()[0].slot_seconds

    def _url(self, endpoint: Endpoint, query: Mapping[str, str] | None) -> URL:
        url = URL(f"{self.base_url}{endpoint.path}", encoded=True)
        return url.with_query(query) if query else url

    async def _attempt(
        self,
        pacer: Pacer,
        endpoint: Endpoint,
        url: URL,
        body: bytes | None = None,
        send_state: SendState | None = None,
        *,
        read: _ResponseReader,
        latency_group: str | None,
        attempt: int = 1,
    ) -> Response | NoResponse:
        """Send once, in a slot that was taken before and is given back."""
        self.requests[endpoint.name] += 1
        if send_state is not None:
            send_state.outcome_unknown = True
        started = asyncio.get_running_loop().time()
        try:
            token = self._credentials.token
            outcome = await self._send_with_events(endpoint, url, body, read, attempt=attempt)
            # A refused request was not carried out, so that a POST, too, may be sent with a fresh token.
            if (
                isinstance(outcome, Response)
                and outcome.status == _UNAUTHORIZED
                and await self._credentials.refresh(token)
                and not (send_state is not None and _stops_after_token_refresh(send_state))
            ):
                self.requests[endpoint.name] += 1
                started = asyncio.get_running_loop().time()
                outcome = await self._send_with_events(endpoint, url, body, read, attempt=attempt)
            if isinstance(outcome, Response) and outcome.ok:
                self.first_success.set()
                # The time of a large answer tells its size rather than the server's load.
                pacer.record_accepted(
                    started=started,
                    latency_group=latency_group if len(outcome.body) <= _MAX_BYTES_FOR_LATENCY else None,
                )
            else:
                self._warn_about_absurd_retry_after(endpoint, outcome)
                self.failed_requests[_failure_label(outcome)] += 1
                _record_failure(pacer, outcome, started)
        finally:
            pacer.release()
        if send_state is not None:
            send_state.outcome_unknown = is_outcome_unknown(outcome)
        return outcome

    def _warn_about_absurd_retry_after(self, endpoint: Endpoint, outcome: Response | NoResponse) -> None:
        if self._has_warned_about_retry_after or isinstance(outcome, NoResponse) or not has_absurd_retry_after(outcome):
            return
        self._has_warned_about_retry_after = True
        asked = sanitize_text(outcome.headers["retry-after"])[:_MAX_RETRY_AFTER_LENGTH]
        _logger.warning("%s: the server asks to wait for %r, which is ignored: an hour is the most", endpoint, asked)

    def _send_with_events(
        self, endpoint: Endpoint, url: URL, body: bytes | None, read: _ResponseReader, *, attempt: int
    ) -> Coroutine[Any, Any, Response | NoResponse]:
        sending = self._send(endpoint, url, body, read)
        return sending if self.on_event is None else send_with_events(self.on_event, endpoint.name, attempt, sending)

    async def _send(
        self, endpoint: Endpoint, url: URL, body: bytes | None, read: _ResponseReader
    ) -> Response | NoResponse:
        _, session = self._require_open_pacer_and_session()
        headers = self._credentials.headers.copy()  # the session may be the caller's, and add to what it is given
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        try:
            with self._shared_timeout.scope():
                async with session.request(
                    endpoint.method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=self._socket_timeout,
                ) as response:
                    return await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return classify_failure(error)

    @asynccontextmanager
    async def open_url(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse | NoResponse]:
        """GET a URL outside the API, such as a download, without the token, its body as it comes over the wire.

        Redirects are the caller's to check.
        """
        _, session = self._require_open_pacer_and_session()
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._socket_timeout.sock_connect, sock_read=self._timeout
        )
        try:
            response = await session.get(
                URL(url, encoded=True),
                headers=headers,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                timeout=timeout,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            response = classify_failure(error)
        if isinstance(response, NoResponse):
            yield response
            return
        try:
            yield response
        finally:
            response.close()

    def _require_open_pacer_and_session(self) -> tuple[Pacer, aiohttp.ClientSession]:
        if self._pacer is None or self._session is None or self._session.closed:
            raise ClientNotOpenError("the client is not open: use it inside `async with IndigoClient(...) as client:`")
        return self._pacer, self._session


def _stops_after_token_refresh(send_state: SendState) -> bool:
    """Whether a request that was refused for its token is not sent with the new one."""
    send_state.token_refreshed = True
    return send_state.stop_requested or not send_state.may_resend


async def _wait_for_slot(pacer: Pacer, endpoint: Endpoint, *, max_pause: float) -> None:
    """Wait for a slot. `max_pause` (seconds) is how long a server's wish to wait may hold us."""
    held = pacer.pause_remaining()
    if held > max(max_pause, 0.0):
        message = "the server asked all requests to wait longer than the retry budget"
        raise RateLimitedError(429, message, None, endpoint.name, retry_after=held)
    await pacer.acquire(is_write=not endpoint.idempotent)


def _failure_label(outcome: Response | NoResponse) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else outcome.reason.value


def _record_failure(pacer: Pacer, outcome: Response | NoResponse, started: float) -> None:
    """Let the pacer learn from what was no good answer."""
    if isinstance(outcome, NoResponse):
        if outcome.reason is FailureReason.TIMEOUT:
            pacer.record_timeout(started=started)
    elif outcome.status in {_TOO_MANY_REQUESTS, _UNAVAILABLE}:
        retry_after = parse_retry_after(outcome)
        if outcome.status == _TOO_MANY_REQUESTS:
            pacer.record_rate_limited(started=started, retry_after=retry_after)
        pacer.pause(retry_after or 0.0)
    elif outcome.status < _FIRST_SERVER_ERROR:
        pacer.record_accepted(started=started, latency_group=None)
