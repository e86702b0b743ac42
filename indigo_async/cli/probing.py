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

from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AuthenticationError, IndigoError, NotFoundError
from indigo_async.settings import DEFAULT_BASE_URL, Settings
from indigo_async.transport.policy import RetryPolicy

__all__ = ["Check", "State", "ask_server"]

_PATIENCE = 15.0
_SKEW_SECONDS = 60.0
_API_PATH = urlsplit(DEFAULT_BASE_URL).path
_NOBODY = "indigo-async-doctor"
_WANTS_TOKEN = {401, 403}


class State(Enum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    REFUSED = "refused"


@attrs.frozen
class Check:
    """One thing that was looked at, and what to do about it."""

    name: str
    state: State
    detail: str
    advice: str | None = None


async def ask_server(settings: Settings, tell: Callable[[Check], object], *, has_token: bool) -> None:
    """Check the way to the server, and the server; `tell` is given each check as it is made. Nothing is changed."""
    url = urlsplit(settings.base_url)
    advice = None
    if url.path.rstrip("/") != _API_PATH:
        advice = f"the API's own address ends with {_API_PATH}; is this one meant to be another?"
    tell(Check("address", State.OK if advice is None else State.WARNING, settings.base_url, advice))
    connection = await _connection(url)
    tell(connection)
    if connection.state is State.FAILED:
        return
    if await _is_api(settings.base_url, tell) and has_token:
        tell(await _token(settings))


async def _connection(url: SplitResult) -> Check:
    """Whether the name is known, something listens there, and its certificate is good."""
    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=secure or None)
    except TimeoutError:
        return Check("reached", State.FAILED, f"{where} does not answer", "is there a firewall, or a VPN to be on?")
    except ssl.SSLCertVerificationError as error:
        advice = "a proxy that looks into TLS? Point SSL_CERT_FILE at its certificate. Is the machine's clock right?"
        return Check("reached", State.FAILED, f"{where}: certificate not accepted: {error.verify_message}", advice)
    except ssl.SSLError as error:
        return Check("reached", State.FAILED, f"{where}: no TLS: {error.reason}", "is the port right?")
    except socket.gaierror:
        advice = "is the address spelt right, and is this machine on the network?"
        return Check("reached", State.FAILED, f"no machine is known by the name {host}", advice)
    except OSError as error:
        why = "nothing listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
        advice = "is the port right, and does the server run?"
        return Check("reached", State.FAILED, f"{where}: {why}", advice)
    encryption = writer.get_extra_info("ssl_object")
    writer.close()
    detail = f"{where}, over {encryption.version()}" if encryption is not None else f"{where}, on this machine"
    return Check("reached", State.OK, detail)


async def _is_api(base_url: str, tell: Callable[[Check], object]) -> bool:
    """Whether the address is an API's, by a request without a token: an API wants one."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{base_url}/audience", params={"audienceId": _NOBODY}, allow_redirects=False) as response,
        ):
            status, date = response.status, response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        tell(Check("API", State.FAILED, f"no answer to a request: {type(error).__name__}", "is this an HTTP server?"))
        return False
    tell(_clock(date))
    if status in _WANTS_TOKEN:
        tell(Check("API", State.OK, "answers, and asks for a token"))
        return True
    if status >= 500:  # noqa: PLR2004 - HTTP's own classes
        tell(Check("API", State.FAILED, f"the server is failing ({status})", "try again later"))
        return False
    advice = f"check the address: the API's own ends with {_API_PATH}"
    tell(Check("API", State.FAILED, f"{base_url} is not the API: without a token it answers {status}, not 401", advice))
    return False


def _clock(date: str) -> Check:
    """How far this machine's clock is from the server's."""
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Check("clock", State.WARNING, "the server does not say what time it is")
    if abs(skew) < _SKEW_SECONDS:
        return Check("clock", State.OK, "agrees with the server's")
    detail = f"this machine's is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    return Check("clock", State.WARNING, detail, "set it by NTP: certificates and signed URLs go by it")


async def _token(settings: Settings) -> Check:
    """Whether the token is taken, by asking for an audience that nobody has."""
    try:
        async with IndigoClient(
            settings.token, base_url=settings.base_url, timeout=_PATIENCE, retry=RetryPolicy(attempts=2)
        ) as client:
            await client.get_audience(_NOBODY)
    except AuthenticationError as error:
        advice = "is it whole, not expired, and this server's? See INDIGO_API_TOKEN and INDIGO_API_TOKEN_FILE"
        return Check("accepted", State.REFUSED, f"the token is refused ({error.status})", advice)
    except NotFoundError:
        pass
    except ApiError as error:
        if error.status >= 500 or error.status == 429:  # noqa: PLR2004 - HTTP's own
            return Check("accepted", State.FAILED, str(error), "try again later")
    except (IndigoError, OSError) as error:
        return Check("accepted", State.FAILED, str(error))
    return Check("accepted", State.OK, "the token is taken")
