"""Server checks for `doctor`: whether the server can be reached, is the API, and accepts the token."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

import aiohttp
import attrs

from indigo_async._settings import DEFAULT_BASE_URL, Settings
from indigo_async._transport.retry import RetryPolicy
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AuthenticationError, IndigoError, NotFoundError

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


async def check_server(settings: Settings, *, has_token: bool) -> AsyncGenerator[Check]:
    """Check the server step by step, until a step fails. Changes nothing on the server."""
    url = urlsplit(settings.base_url)
    if url.path.rstrip("/") == _API_PATH:
        yield Check("address", CheckStatus.OK, settings.base_url)
    else:
        advice = f"the public API's base URL ends with {_API_PATH}; is this one correct?"
        yield Check("address", CheckStatus.WARNING, settings.base_url, advice)
    connection = await _check_connection(url)
    yield connection
    if connection.status is CheckStatus.FAILED:
        return
    checks = await _check_api(settings.base_url)
    for check in checks:
        yield check
    if checks[-1].status is CheckStatus.OK and has_token:
        yield await _check_token(settings)


async def _check_connection(url: SplitResult) -> Check:
    """Check name resolution, the TCP connection and TLS."""

    def failed(detail: str, advice: str) -> Check:
        return Check("reached", CheckStatus.FAILED, detail, advice)

    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    address = f"{host}:{port}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=secure or None)
    except TimeoutError:
        return failed(f"{address} does not respond", "check the firewall, and the VPN if you need one")
    except ssl.SSLCertVerificationError as error:
        return failed(
            f"{address}: certificate not accepted: {error.verify_message}",
            "if a proxy inspects TLS, point SSL_CERT_FILE at its certificate; also check this machine's clock",
        )
    except ssl.SSLError as error:
        return failed(f"{address}: no TLS: {error.reason}", "check the port")
    except socket.gaierror:
        return failed(f"no such host: {host}", "check the address's spelling and this machine's network connection")
    except OSError as error:
        reason = "nothing listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
        return failed(f"{address}: {reason}", "check the port, and that the server is running")
    encryption = writer.get_extra_info("ssl_object")
    writer.close()
    return Check("reached", CheckStatus.OK, f"{address}, {encryption.version() if encryption else 'on this machine'}")


async def _check_api(base_url: str) -> list[Check]:
    """Check the clock, and that a request without a token is rejected, as the API does. The API's check comes last."""

    def failed(detail: str, advice: str) -> Check:
        return Check("API", CheckStatus.FAILED, detail, advice)

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    params = {"audienceId": _UNKNOWN_AUDIENCE_ID}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{base_url}/audience", params=params, allow_redirects=False) as response,
        ):
            status, date = response.status, response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        return [failed(f"no response to a request: {type(error).__name__}", "check that this is an HTTP server")]
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        api = Check("API", CheckStatus.OK, "responds, and requires a token")
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        api = failed(f"the server is failing ({status})", "try again later")
    else:
        api = failed(
            f"{base_url} is not the API: it responds with {status} instead of 401 to a request without a token",
            f"check the address: the API's base URL ends with {_API_PATH}",
        )
    return [_check_clock(date), api]


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


async def _check_token(settings: Settings) -> Check:
    """Check that the token is accepted, by requesting an audience that doesn't exist."""
    try:
        async with IndigoClient(
            settings.token, base_url=settings.base_url, timeout=_TIMEOUT, retry=RetryPolicy(attempts=2)
        ) as client:
            await client.get_audience(_UNKNOWN_AUDIENCE_ID)
    except AuthenticationError as error:
        advice = (
            "check that the token is complete, not expired, and for this server; "
            "it comes from INDIGO_API_TOKEN or INDIGO_API_TOKEN_FILE"
        )
        return Check("accepted", CheckStatus.REFUSED, f"the token was rejected ({error.status})", advice)
    except NotFoundError:
        pass
    except ApiError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS:
            return Check("accepted", CheckStatus.FAILED, str(error), "try again later")
    except (IndigoError, OSError) as error:
        return Check("accepted", CheckStatus.FAILED, str(error))
    return Check("accepted", CheckStatus.OK, "the token was accepted")
