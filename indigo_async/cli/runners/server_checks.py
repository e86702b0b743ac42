"""Server checks for `doctor`: whether the server can be reached, is the API, and accepts the token."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from indigo_async._redaction import sanitize_text
from indigo_async._settings import DEFAULT_BASE_URL, Settings
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.certificates import create_tls_context
from indigo_async._transport.error_bodies import find_page_title, is_web_page
from indigo_async._transport.failures import classify_failure
from indigo_async._transport.proxies import Proxies, Proxy
from indigo_async._transport.responses import FailureReason, NoResponse, Response, read_response
from indigo_async._transport.retry import RetryPolicy
from indigo_async._validation import is_loopback_host
from indigo_async.cli.render.advice import use_option_names
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AuthenticationError, IndigoError, InvalidInputError, NotFoundError

__all__ = ["Check", "CheckStatus", "check_server"]

_TIMEOUT = 15.0
_MAX_SKEW_SECONDS = 60.0
_API_PATH = urlsplit(DEFAULT_BASE_URL).path
_UNKNOWN_AUDIENCE_ID = "indigo-async-doctor"


class CheckStatus(Enum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    REFUSED = "refused"


@attrs.frozen
class Check:
    """One check: its result, and advice if something should be done."""

    name: str
    status: CheckStatus
    detail: str
    advice: str | None = None


async def check_server(settings: Settings, proxy: str | None, *, has_token: bool) -> AsyncGenerator[Check]:
    """Check the server step by step, until a step fails. Changes nothing on the server."""
    if urlsplit(settings.base_url).path.rstrip("/") == _API_PATH:
        yield Check("address", CheckStatus.OK, settings.base_url)
    else:
        advice = f"the public API's base URL ends with {_API_PATH}; is this one correct?"
        yield Check("address", CheckStatus.WARNING, settings.base_url, advice)
    url = URL(f"{settings.base_url}/audience", encoded=True).with_query(audienceId=_UNKNOWN_AUDIENCE_ID)
    try:
        proxies = Proxies.resolve(proxy, profile=settings.profile)
        chosen = proxies.find(url)
        tls_context = await run_in_thread(create_tls_context)
    except InvalidInputError as error:
        yield Check("proxy", CheckStatus.FAILED, use_option_names(str(error)))
        return
    yield Check("proxy", CheckStatus.OK, _describe_proxy(proxies, chosen, url))
    outcome = await _request_without_token(url, chosen, tls_context)
    if isinstance(outcome, NoResponse):
        advice = _advise_about_connection(outcome, settings, chosen)
        yield Check("reached", CheckStatus.FAILED, f"{outcome.reason.value}: {outcome.detail}", advice)
        return
    way = "on this machine" if settings.is_loopback else "with TLS"
    yield Check("reached", CheckStatus.OK, f"{url.host}:{url.port}, {way}")
    yield _check_clock(outcome.headers.get("date", ""))
    api = _check_api(settings.base_url, outcome)
    yield api
    if api.status is CheckStatus.OK and has_token:
        yield await _check_token(settings, proxies.explicit)


def _describe_proxy(proxies: Proxies, chosen: Proxy | None, url: URL) -> str:
    if chosen is not None:
        source = "--proxy" if chosen.source == "proxy" else chosen.source
        return f"{chosen.address} (from {source})"
    if is_loopback_host(url.host):
        return "none: the server is on this machine"
    return f"none: NO_PROXY excludes {url.host}" if proxies.has_exception(url) else "none"


async def _request_without_token(
    url: URL, proxy: Proxy | None, tls_context: ssl.SSLContext | None
) -> Response | NoResponse:
    proxy_url = None if proxy is None else URL(proxy.url)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls_context or True), timeout=aiohttp.ClientTimeout(total=_TIMEOUT)
            ) as session,
            session.get(url, proxy=proxy_url, allow_redirects=False) as response,
        ):
            return await read_response(response)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return classify_failure(error, url, proxy=proxy_url)


def _advise_about_connection(failure: NoResponse, settings: Settings, proxy: Proxy | None) -> str:
    if failure.advice:
        return failure.advice
    if failure.reason is FailureReason.UNKNOWN_HOST:
        return "check the address's spelling and this machine's network connection"
    if proxy is not None:
        return f"check that the proxy {proxy.address} can reach the server"
    if settings.is_loopback:
        return "check the port, and that the server is running"
    return "check the address and the firewall; if this network needs a proxy, set HTTPS_PROXY or --proxy"


def _check_api(base_url: str, response: Response) -> Check:
    """Check that a request without a token is rejected, as the API does."""

    def failed(detail: str, advice: str) -> Check:
        return Check("API", CheckStatus.FAILED, detail, advice)

    status = response.status
    if response.body and is_web_page(response.body, response.headers.get("content-type", "")):
        title = sanitize_text(find_page_title(response.body))
        page = f"a web page{f' titled {title!r}' if title else ''} ({status})"
        return failed(
            f"{page} responds instead of the API",
            f"it is probably from a proxy, a firewall or this network's login; otherwise check the address: the API's "
            f"base URL ends with {_API_PATH}",
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Check("API", CheckStatus.OK, "responds, and requires a token")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(f"the server is failing ({status})", "try again later")
    return failed(
        f"{base_url} is not the API: it responds with {status} instead of 401 to a request without a token",
        f"check the address: the API's base URL ends with {_API_PATH}",
    )


def _check_clock(date: str) -> Check:
    """Compare this machine's clock with the server's `Date` header."""
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Check("clock", CheckStatus.WARNING, "the server does not send its time")
    if abs(skew) < _MAX_SKEW_SECONDS:
        return Check("clock", CheckStatus.OK, "agrees with the server's")
    detail = f"this machine's clock is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    advice = "synchronize it (NTP): certificates and signed URLs depend on the time"
    return Check("clock", CheckStatus.WARNING, detail, advice)


async def _check_token(settings: Settings, proxy: Proxy | None) -> Check:
    """Check that the token is accepted, by requesting an audience that doesn't exist."""
    try:
        async with IndigoClient(
            settings.token,
            base_url=settings.base_url,
            proxy=None if proxy is None else proxy.url,
            timeout=_TIMEOUT,
            retry=RetryPolicy(attempts=2),
        ) as client:
            await client.get_audience(_UNKNOWN_AUDIENCE_ID)
    except AuthenticationError as error:
        source = "INDIGO_API_TOKEN or INDIGO_API_TOKEN_FILE" if settings.profile is None else str(settings.profile)
        advice = f"check that the token is complete, not expired, and for this server; it comes from {source}"
        return Check("accepted", CheckStatus.REFUSED, f"the token was rejected ({error.status})", advice)
    except NotFoundError:
        pass
    except ApiError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS:
            return Check("accepted", CheckStatus.FAILED, str(error), "try again later")
    except IndigoError as error:
        return Check("accepted", CheckStatus.FAILED, str(error))
    return Check("accepted", CheckStatus.OK, "the token was accepted")
