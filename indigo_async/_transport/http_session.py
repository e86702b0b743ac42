"""The aiohttp session of a client: connections, certificates, proxies, headers, and its event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import hdrs
from yarl import URL

from indigo_async._transport.auth import Credentials
from indigo_async._transport.cancellation import call_in_loop, run_in_thread, running_loop
from indigo_async._transport.certificates import create_tls_context
from indigo_async._transport.failures import classify_failure
from indigo_async._transport.options import RequestOptions, make_socket_timeout
from indigo_async._transport.proxies import Proxies, Proxy
from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse
from indigo_async.errors import ClientNotOpenError, InvalidInputError

__all__ = ["HttpSession"]

# Longer than any poll interval, so a connection survives the pause between two rounds.
_KEEPALIVE_SECONDS = 75.0
_MAX_HEADER_BYTES = 64 * 1024
_RESENT_BY_AIOHTTP = frozenset({hdrs.METH_PUT, hdrs.METH_DELETE})
"""Requests that aiohttp sends again by itself after a lost connection, besides reads."""

_SESSION_ERRORS = (aiohttp.ClientError, OSError, RuntimeError, ValueError, LookupError, AssertionError)
"""What aiohttp raises, including when a caller's session or connector is closed during a request."""


class HttpSession:
    """Sends requests through its own session or a caller's, in the event loop that opened it.

    A caller's session keeps its settings. The client adds its own token, and only to requests to the API.
    """

    _api_options: dict[str, Any]
    _session_has_credentials: bool

    def __init__(
        self,
        session: aiohttp.ClientSession | None,
        *,
        credentials: Credentials,
        base_url: str,
        proxies: Proxies,
        max_connections: int,
    ) -> None:
        self.proxies = proxies
        self._credentials = credentials
        self._max_connections = max_connections
        self._owns_session = session is None
        self._session = session
        self._proxy = self._find_proxy(URL(base_url, encoded=True))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered_at: dict[str, float] = {}
        """When (loop time) each host outside the API last gave a response other than a 5xx or a web page."""

    async def open(self) -> None:
        """Open the session in the running event loop.

        Raises:
            ClientNotOpenError: it is open already, or no session can be used in this event loop.
            InvalidInputError: the token or the environment's certificates can't be used.
        """
        loop = running_loop()
        self.require_own_loop()
        if self._loop is not None:
            raise ClientNotOpenError("the client is already open: open it once for everything that shares it")
        if not self._owns_session and getattr(self._session, "_loop", loop) is not loop:
            raise ClientNotOpenError("the session belongs to another event loop: create it in the one that uses it")
        self._loop = loop  # before the first `await`: another task may be opening the client, too
        try:
            await self._credentials.open()
            if self._owns_session:
                self._session = await self._create_session()
        except BaseException:
            self._loop = None
            raise
        self._api_options = self._request_options(self._proxy)
        self._session_has_credentials = self._may_add_credentials()
        if self._session_has_credentials:
            self._api_options |= self._with_middleware(self._authorize)

    async def _create_session(self) -> aiohttp.ClientSession:
        tls_context = await run_in_thread(create_tls_context)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ttl_dns_cache=300,
                ssl=tls_context or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        session, self._loop = self._session, None
        if session is not None and self._owns_session:
            self._session = None
            await session.close()

    def abandon(self) -> None:
        """Close the session's connections at once, from any thread. aiohttp gives no warning of its own."""
        loop, self._loop = self._loop, None
        if self._session is None or loop is None or not self._owns_session:
            return
        connector = self._session.connector
        self._session.detach()
        if connector is not None:
            call_in_loop(loop, partial(_close_connector, connector))

    @property
    def is_open(self) -> bool:
        """Whether an event loop, which may be another one, has opened the session."""
        return self._loop is not None

    def require_open(self) -> aiohttp.ClientSession:
        """Return the session.

        Raises:
            ClientNotOpenError: it can't be used here and now.
        """
        session = self._session
        if session is not None and self._loop is running_loop() and not session.closed:
            return session
        self.require_own_loop()
        if self._loop is None or session is None:
            raise ClientNotOpenError(
                "the client is not open: use it inside `async with IndigoClient(...) as client:`, or open it with "
                "`await client.open()`"
            )
        raise ClientNotOpenError("the client's session was closed: keep it open until the client is closed")

    def require_own_loop(self) -> None:
        """Check that no other event loop has opened the session.

        Raises:
            ClientNotOpenError: one has.
        """
        if self._loop is not running_loop() and self._loop is not None:
            raise ClientNotOpenError(
                "the client was opened in another event loop: open one in each event loop, thread and process that "
                "needs one (every `asyncio.run` has its own event loop)"
            )

    def forget_closed_loop(self) -> bool:
        """Drop the session if its event loop was closed before it. Returns whether it was."""
        if self._loop is None or not self._loop.is_closed():
            return False
        if self._session is not None and self._owns_session:
            self._session.detach()
            self._session = None
        self._loop = None
        return True

    async def request(
        self, endpoint: Endpoint, url: URL, body: bytes | None, options: RequestOptions
    ) -> aiohttp.ClientResponse | NoResponse:
        """Send a request to the API and receive the head of its response."""
        session = self.require_open()
        headers = options.headers.copy()  # a caller's session may add to the headers it gets
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        if not self._session_has_credentials:  # aiohttp refuses a second one; see `_authorize`
            headers[hdrs.AUTHORIZATION] = self._credentials.authorization
        api_options = self._api_options
        if endpoint.method in _RESENT_BY_AIOHTTP:
            api_options = api_options | self._with_middleware(_send_once(), after=api_options)
        try:
            return await session.request(
                endpoint.method,
                url,
                data=body,
                headers=headers,
                timeout=options.socket_timeout,
                **api_options,
            )
        except _SESSION_ERRORS as error:
            return self.explain(error, url)

    def explain(self, error: Exception, url: URL) -> NoResponse:
        """Explain why a request to the API failed."""
        return classify_failure(error, url, proxy=_proxy_url(self._proxy))

    @asynccontextmanager
    async def open_url(
        self, url: str, headers: Mapping[str, str], *, read_timeout: float
    ) -> AsyncGenerator[aiohttp.ClientResponse | NoResponse]:
        """GET a URL outside the API, such as a download: without the token, without redirects, not decompressed.

        Callers' headers are not sent either. It fails after `read_timeout` seconds without data.
        """
        session = self.require_open()
        timeout = make_socket_timeout(read_timeout, read=read_timeout)
        target = URL(url, encoded=True)
        try:
            proxy = self._find_proxy(target)
        except InvalidInputError as error:
            yield NoResponse(FailureReason.PROXY_UNUSABLE, str(error))
            return
        options = self._request_options(proxy)
        if not self._owns_session:
            options |= self._with_middleware(_remove_authorization)
        response: aiohttp.ClientResponse | NoResponse
        try:
            response = await session.get(target, headers=headers, auto_decompress=False, timeout=timeout, **options)
        except _SESSION_ERRORS as error:
            response = classify_failure(error, target, proxy=_proxy_url(proxy))
        if isinstance(response, NoResponse):
            yield response
            return
        if response.status < HTTPStatus.INTERNAL_SERVER_ERROR and response.content_type != "text/html":
            self._answered_at[target.host or ""] = asyncio.get_running_loop().time()
        try:
            yield response
        finally:
            response.close()

    def has_answered_nobody_since(self, host: str, failing_since: float) -> bool:
        """Whether a host outside the API responded before, but not since `failing_since` (loop time)."""
        return self._answered_at.get(host, math.inf) < failing_since

    def _find_proxy(self, url: URL) -> Proxy | None:
        """Return the proxy for a URL. A caller's session has its own settings, which only the caller overrides.

        Raises:
            InvalidInputError: see `Proxies.find`.
        """
        return self.proxies.find(url) if self._owns_session else self.proxies.explicit

    def _request_options(self, proxy: Proxy | None) -> dict[str, Any]:
        options: dict[str, Any] = {
            "allow_redirects": False,
            "raise_for_status": False,
            "max_line_size": _MAX_HEADER_BYTES,
            "max_field_size": _MAX_HEADER_BYTES,
        }
        return options if proxy is None else options | {"proxy": proxy.url}

    def _may_add_credentials(self) -> bool:
        """Whether the caller's session may add a user name and password to requests."""
        session = self._session
        return not self._owns_session and bool(
            getattr(session, "trust_env", False) or getattr(session, "auth", None) is not None
        )

    def _with_middleware(
        self, own: aiohttp.ClientMiddlewareType, *, after: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the option that adds a middleware to those of the caller's session, or of the options `after`."""
        given = (after or {}).get("middlewares", getattr(self._session, "_middlewares", ()))
        return {"middlewares": (*given, own)}

    async def _authorize(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send our token instead of the session's credentials, such as a password from `~/.netrc`."""
        request.headers[hdrs.AUTHORIZATION] = self._credentials.authorization
        return await send(request)


def _send_once() -> aiohttp.ClientMiddlewareType:
    """Return a middleware that lets one request through: the server may have processed it before it disconnected."""
    is_sent = False

    async def send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal is_sent
        if is_sent:
            raise aiohttp.ServerDisconnectedError
        is_sent = True
        return await send(request)

    return send_once


async def _remove_authorization(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep the session's API credentials, or those from `~/.netrc`, from other servers: their URLs are signed."""
    request.headers.popall(hdrs.AUTHORIZATION, None)
    return await send(request)


def _close_connector(connector: aiohttp.BaseConnector) -> None:
    # The base class closes all connections before it returns. What is left to wait for is the end of TLS.
    aiohttp.BaseConnector.close(connector).__await__()


def _proxy_url(proxy: Proxy | None) -> URL | None:
    return None if proxy is None else URL(proxy.url)
