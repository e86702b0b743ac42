"""What can be found out about a server: whether it is reached, is the API, and takes the token."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from enum import Enum
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
_UNAUTHENTICATED = {401, 403}


class CheckStatus(Enum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    REFUSED = "refused"


@attrs.frozen
class Check:
    """One thing that was looked at, and what to do about it."""

    name: str
    status: CheckStatus
    detail: str
    advice: str | None = None


async def check_server(settings: Settings, report: Callable[[Check], object], *, has_token: bool) -> None:
    """Check the way to the server, and the server; `report` is given each check as it is made. Nothing is changed."""
    url = urlsplit(settings.base_url)
    advice = None
    if url.path.rstrip("/") != _API_PATH:
        advice = f"the API's own address ends with {_API_PATH}; is this one meant to be another?"
    report(Check("address", CheckStatus.OK if advice is None else CheckStatus.WARNING, settings.base_url, advice))
    connection = await _check_connection(url)
    report(connection)
    if connection.status is CheckStatus.FAILED:
        return
    if await _check_api(settings.base_url, report) and has_token:
        report(await _check_token(settings))


async def _check_connection(url: SplitResult) -> Check:
    """Whether the name is known, something listens there, and its certificate is good."""
    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=secure or None)
    except TimeoutError:
        return Check(
            "reached", CheckStatus.FAILED, f"{where} does not answer", "is there a firewall, or a VPN to be on?"
        )
    except ssl.SSLCertVerificationError as error:
        advice = "a proxy that looks into TLS? Point SSL_CERT_FILE at its certificate. Is the machine's clock right?"
        return Check(
            "reached", CheckStatus.FAILED, f"{where}: certificate not accepted: {error.verify_message}", advice
        )
    except ssl.SSLError as error:
        return Check("reached", CheckStatus.FAILED, f"{where}: no TLS: {error.reason}", "is the port right?")
    except socket.gaierror:
        advice = "is the address spelt right, and is this machine on the network?"
        return Check("reached", CheckStatus.FAILED, f"no machine is known by the name {host}", advice)
    except OSError as error:
        why = "nothing listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
        advice = "is the port right, and does the server run?"
        return Check("reached", CheckStatus.FAILED, f"{where}: {why}", advice)
    encryption = writer.get_extra_info("ssl_object")
    writer.close()
    detail = f"{where}, over {encryption.version()}" if encryption is not None else f"{where}, on this machine"
    return Check("reached", CheckStatus.OK, detail)


async def _check_api(base_url: str, tell: Callable[[Check], object]) -> bool:
    """Whether the address is an API's, by a request without a token: an API wants one."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                f"{base_url}/audience", params={"audienceId": _UNKNOWN_AUDIENCE_ID}, allow_redirects=False
            ) as response,
        ):
            status, date = response.status, response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        tell(
            Check(
                "API", CheckStatus.FAILED, f"no answer to a request: {type(error).__name__}", "is this an HTTP server?"
            )
        )
        return False
    tell(_check_clock(date))
    if status in _UNAUTHENTICATED:
        tell(Check("API", CheckStatus.OK, "answers, and asks for a token"))
        return True
    if status >= 500:  # noqa: PLR2004 - HTTP's own classes
        tell(Check("API", CheckStatus.FAILED, f"the server is failing ({status})", "try again later"))
        return False
    advice = f"check the address: the API's own ends with {_API_PATH}"
    tell(
        Check(
            "API",
            CheckStatus.FAILED,
            f"{base_url} is not the API: without a token it answers {status}, not 401",
            advice,
        )
    )
    return False


def _check_clock(date: str) -> Check:
    """How far this machine's clock is from the server's."""
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Check("clock", CheckStatus.WARNING, "the server does not say what time it is")
    if abs(skew) < _MAX_SKEW_SECONDS:
        return Check("clock", CheckStatus.OK, "agrees with the server's")
    detail = f"this machine's is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    return Check("clock", CheckStatus.WARNING, detail, "set it by NTP: certificates and signed URLs go by it")


async def _check_token(settings: Settings) -> Check:
    """Whether the token is taken, by asking for an audience that nobody has."""
    try:
        async with IndigoClient(
            settings.token, base_url=settings.base_url, timeout=_TIMEOUT, retry=RetryPolicy(attempts=2)
        ) as client:
            await client.get_audience(_UNKNOWN_AUDIENCE_ID)
    except AuthenticationError as error:
        advice = "is it whole, not expired, and this server's? See INDIGO_API_TOKEN and INDIGO_API_TOKEN_FILE"
        return Check("accepted", CheckStatus.REFUSED, f"the token is refused ({error.status})", advice)
    except NotFoundError:
        pass
    except ApiError as error:
        if error.status >= 500 or error.status == 429:  # noqa: PLR2004 - HTTP's own
            return Check("accepted", CheckStatus.FAILED, str(error), "try again later")
    except (IndigoError, OSError) as error:
        return Check("accepted", CheckStatus.FAILED, str(error))
    return Check("accepted", CheckStatus.OK, "the token is taken")
