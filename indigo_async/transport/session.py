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

from indigo_async.errors import ApiError, ClientNotOpenError, IndigoError, RateLimitedError, ResponseDecodeError
from indigo_async.hidden import safe_text
from indigo_async.settings import Settings
from indigo_async.transport.answers import Sink, document_in, pour, read_answer, silence
from indigo_async.transport.credentials import Credentials
from indigo_async.transport.events import Listener, RequestRetried, emit
from indigo_async.transport.pacing import Pacer, Pacing
from indigo_async.transport.policy import (
    Answer,
    Endpoint,
    Reason,
    RetryPolicy,
    Silence,
    error_of,
    is_absurd_retry_after,
    is_uncertain,
    retry_after_of,
    retry_delay,
)
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.transport.told import told

__all__ = ["Flight", "SendTooLateError", "Transport"]

# Longer than any poll interval, so that a connection outlives the pause between two rounds.
_KEEPALIVE_SECONDS = 75.0
_CONNECT_SECONDS = 15.0
_DOWNLOADS_AT_ONCE = 16
_COMPARABLE_BYTES = 64 * 1024
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_FIRST_SERVER_ERROR = 500
_SHOWN_RETRY_AFTER = 40

_logger = logging.getLogger("indigo_async")


@attrs.define
class Flight:
    """What is known of a POST while it is under way.

    `uncertain` is true from the moment it leaves until its outcome is known or has been looked for. `doubts` counts the
    attempts whose outcome nobody told: one look that shows nothing does not end such a doubt, since the server may
    carry a late request out later. Set `stop` to let an attempt under way end but to send nothing more.

    With `resend` False the request is sent once at most, whatever comes of it; `token_refreshed` then says that it was
    refused for a token that has been replaced. With `send_by` (event-loop time) it is not sent at all once that has
    passed.
    """

    uncertain: bool = False
    doubts: int = 0
    stop: bool = False
    resend: bool = True
    send_by: float | None = None
    token_refreshed: bool = False


class SendTooLateError(IndigoError):
    """The request's turn came after `Flight.send_by`, so it was not sent."""


_Reader: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[Answer | Silence]]


class Transport:
    """Sends requests to the API: paced, timed out, retried, decoded. `requests` counts them by endpoint.

    `setbacks` counts those that had no good answer, by HTTP status or reason. `downloads` bounds those who download.
    `has_succeeded` is set from the first good answer on.
    """

    downloads: asyncio.Semaphore
    has_succeeded: asyncio.Event
    _time_limit: TimeLimit

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: RetryPolicy,
        pacing: Pacing,
        session: aiohttp.ClientSession | None,
        on_event: Listener | None = None,
    ) -> None:
        self.on_event = on_event
        self.requests: Counter[str] = Counter()
        self.setbacks: Counter[str] = Counter()
        self.base_url: str = settings.base_url
        self._credentials = Credentials(settings.token)
        self._timeout = timeout
        self.retry = retry
        self._pacing = pacing
        self._own_session = session is None
        self._session = session
        self._pacer: Pacer | None = None
        self._has_warned_of_wait = False
        self._socket_timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, timeout / 2))

    async def open(self) -> None:
        await self._credentials.open()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    # Room for both, since a request's timeout counts while it waits for a connection.
                    limit=self._pacing.max_concurrency + _DOWNLOADS_AT_ONCE,
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                    ttl_dns_cache=300,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        self._pacer = Pacer(self._pacing)
        self.has_succeeded = asyncio.Event()
        self._time_limit = TimeLimit(self._timeout)
        self.downloads = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

    async def close(self) -> None:
        session, self._pacer = self._session, None
        if session is not None and self._own_session:
            self._session = None
            await session.close()

    async def call(
        self,
        endpoint: Endpoint,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        flight: Flight | None = None,
    ) -> Any:
        """Send a request until it is answered or the policy gives up. Returns the answer's JSON.

        A good answer that is no JSON counts as unreadable: a GET is sent again, a POST ends as ambiguous. `flight`
        follows the request.

        Raises:
            ApiError, TransportError, ResponseDecodeError: how the last attempt ended, or what a good status hid.
        """
        url = self._url(endpoint, query)
        clock = asyncio.get_running_loop().time
        like = endpoint.text if endpoint.idempotent else None  # a POST's time tells how much there was to do
        spent = 0.0  # of the retry budget: without the time in our own queue, which thousands of jobs may fill
        attempt = 0
        while True:
            attempt += 1
            pacer, _ = self._opened()
            sends_once = flight is not None and not flight.resend
            if not pacer.try_take(action=not endpoint.idempotent):
                await _queue(pacer, endpoint, patience=math.inf if sends_once else self.retry.budget - spent)
            sent = clock()
            if flight is not None and flight.send_by is not None and sent > flight.send_by:
                pacer.give_back()
                raise SendTooLateError(f"{endpoint.text}: its turn came too late, so nothing was sent")
            outcome = await self._fly(pacer, endpoint, url, body, flight, read=read_answer, like=like, attempt=attempt)
            spent += clock() - sent
            if isinstance(outcome, Answer) and outcome.ok:
                try:
                    return document_in(outcome.body, endpoint, token=self.token)
                except ApiError as refusal:
                    raise refusal.with_traceback(None) from None  # deeper frames hold the body
                except ResponseDecodeError:
                    if flight is not None:
                        flight.uncertain = True
                    kind = outcome.headers.get("content-type", "no content type")
                    outcome = Silence(Reason.UNREADABLE, f"{kind}, {len(outcome.body)} bytes")
            delay = retry_delay(
                endpoint,
                outcome,
                policy=self.retry,
                attempt=attempt,
                elapsed=spent,
                chance=random.random(),  # noqa: S311 - jitter needs no secrecy
            )
            if delay is None or (flight is not None and (flight.stop or not flight.resend)):
                raise error_of(endpoint, outcome, token=self.token, base_url=self.base_url)
            retried = RequestRetried(endpoint=endpoint.text, attempt=attempt, delay=delay, reason=_reason_of(outcome))
            emit(retried, default=self.on_event)
            await asyncio.sleep(delay)
            spent += delay

    async def look(self, endpoint: Endpoint, sink: Sink, *, query: Mapping[str, str], comparable: bool = True) -> float:
        """Send a GET once, whose good answer goes to `sink` as it comes. What `sink` raises ends the request.

        `comparable` says whether the time that it takes tells the server's load, rather than the answer's size.
        Returns the seconds that it took once it had a slot, the sink's own work included.

        Raises:
            ApiError, TransportError, ResponseDecodeError: there was no good answer, or it broke off.
        """
        pacer, _ = self._opened()
        if not pacer.try_take(action=not endpoint.idempotent):
            await _queue(pacer, endpoint, patience=self.retry.budget)
        clock = asyncio.get_running_loop().time
        started = clock()
        like = endpoint.text if comparable else None
        outcome = await self._fly(pacer, endpoint, self._url(endpoint, query), read=partial(pour, sink), like=like)
        if isinstance(outcome, Silence) or not outcome.ok:
            raise error_of(endpoint, outcome, token=self.token, base_url=self.base_url)
        return clock() - started

    def require_open(self) -> None:
        """Make sure that requests can be sent.

        Raises:
            ClientNotOpenError: they cannot.
        """
        self._opened()

    @property
    def token(self) -> str:
        """The token at hand, which errors must not show."""
        return self._credentials.token

    @property
    def slot_seconds(self) -> float:
        """What the pacing makes each request cost at least, in seconds of one slot."""
        return self._opened()[0].slot_seconds

    def _url(self, endpoint: Endpoint, query: Mapping[str, str] | None) -> URL:
        url = URL(f"{self.base_url}{endpoint.path}", encoded=True)
        return url.with_query(query) if query else url

    async def _fly(
        self,
        pacer: Pacer,
        endpoint: Endpoint,
        url: URL,
        body: bytes | None = None,
        flight: Flight | None = None,
        *,
        read: _Reader,
        like: str | None,
        attempt: int = 1,
    ) -> Answer | Silence:
        """Send once, in a slot that was taken before and is given back."""
        self.requests[endpoint.text] += 1
        if flight is not None:
            flight.uncertain = True
        started = asyncio.get_running_loop().time()
        try:
            token = self._credentials.token
            outcome = await self._sending(endpoint, url, body, read, attempt=attempt)
            # A refused request was not carried out, so that a POST, too, may be sent with a fresh token.
            if (
                isinstance(outcome, Answer)
                and outcome.status == _UNAUTHORIZED
                and await self._credentials.renewed(token)
                and not (flight is not None and _ends_here(flight))
            ):
                self.requests[endpoint.text] += 1
                started = asyncio.get_running_loop().time()
                outcome = await self._sending(endpoint, url, body, read, attempt=attempt)
            if isinstance(outcome, Answer) and outcome.ok:
                self.has_succeeded.set()
                # The time of a large answer tells its size rather than the server's load.
                pacer.answered(started=started, like=like if len(outcome.body) <= _COMPARABLE_BYTES else None)
            else:
                self._warn_of_absurd_wait(endpoint, outcome)
                self.setbacks[_reason_of(outcome)] += 1
                _teach_setback(pacer, outcome, started)
        finally:
            pacer.give_back()
        if flight is not None:
            flight.uncertain = is_uncertain(outcome)
        return outcome

    def _warn_of_absurd_wait(self, endpoint: Endpoint, outcome: Answer | Silence) -> None:
        if self._has_warned_of_wait or isinstance(outcome, Silence) or not is_absurd_retry_after(outcome):
            return
        self._has_warned_of_wait = True
        asked = safe_text(outcome.headers["retry-after"])[:_SHOWN_RETRY_AFTER]
        _logger.warning("%s: the server asks to wait for %r, which is ignored: an hour is the most", endpoint, asked)

    def _sending(
        self, endpoint: Endpoint, url: URL, body: bytes | None, read: _Reader, *, attempt: int
    ) -> Coroutine[Any, Any, Answer | Silence]:
        sending = self._send(endpoint, url, body, read)
        return sending if self.on_event is None else told(self.on_event, endpoint.text, attempt, sending)

    async def _send(self, endpoint: Endpoint, url: URL, body: bytes | None, read: _Reader) -> Answer | Silence:
        _, session = self._opened()
        headers = self._credentials.headers.copy()  # the session may be the caller's, and add to what it is given
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        try:
            with self._time_limit.applied():
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
            return silence(error)

    @asynccontextmanager
    async def open_url(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[aiohttp.ClientResponse | Silence]:
        """GET a URL outside the API, such as a download, without the token, its body as it comes over the wire.

        Redirects are the caller's to check.
        """
        _, session = self._opened()
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
            response = silence(error)
        if isinstance(response, Silence):
            yield response
            return
        try:
            yield response
        finally:
            response.close()

    def _opened(self) -> tuple[Pacer, aiohttp.ClientSession]:
        if self._pacer is None or self._session is None or self._session.closed:
            raise ClientNotOpenError("the client is not open: use it inside `async with IndigoClient(...) as client:`")
        return self._pacer, self._session


def _ends_here(flight: Flight) -> bool:
    """Whether a request that was refused for its token is not sent with the new one."""
    flight.token_refreshed = True
    return flight.stop or not flight.resend


async def _queue(pacer: Pacer, endpoint: Endpoint, *, patience: float) -> None:
    """Wait for a slot. `patience` (seconds) is how long a server's wish to wait may hold us."""
    held = pacer.held_for()
    if held > max(patience, 0.0):
        message = "the server asked all requests to wait longer than the retry budget"
        raise RateLimitedError(429, message, None, endpoint.text, retry_after=held)
    await pacer.take(action=not endpoint.idempotent)


def _reason_of(outcome: Answer | Silence) -> str:
    return str(outcome.status) if isinstance(outcome, Answer) else outcome.reason.value


def _teach_setback(pacer: Pacer, outcome: Answer | Silence, started: float) -> None:
    """Let the pacer learn from what was no good answer."""
    if isinstance(outcome, Silence):
        if outcome.reason is Reason.TIMEOUT:
            pacer.timed_out(started=started)
    elif outcome.status in {_TOO_MANY_REQUESTS, _UNAVAILABLE}:
        retry_after = retry_after_of(outcome)
        if outcome.status == _TOO_MANY_REQUESTS:
            pacer.refused(started=started, retry_after=retry_after)
        pacer.hold(retry_after or 0.0)
    elif outcome.status < _FIRST_SERVER_ERROR:
        pacer.answered(started=started, like=None)
