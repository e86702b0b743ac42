"""Fetch an uploaded CSV from its URL, within limits on address, size and time."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs

from indigo_async._validation import is_loopback_host
from indigo_async.sandbox.state.engine import StageError

__all__ = ["FetchLimits", "fetch_csv"]

_CHUNK_BYTES = 1 << 18
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_OK = 200


@attrs.frozen(kw_only=True)
class FetchLimits:
    """The limits of a fetch. Without `allow_remote`, only this machine is contacted, even after redirects."""

    allow_remote: bool = False
    max_bytes: int = 500_000_000
    max_seconds: float = 60.0
    max_redirects: int = 5


async def fetch_csv(session: aiohttp.ClientSession, url: str, limits: FetchLimits) -> bytes:
    """Fetch a URL.

    Raises:
        StageError: `UrlNotAllowed`, `UrlNotReachable` or `CsvTooLarge`.
    """
    timeout = aiohttp.ClientTimeout(total=limits.max_seconds)
    try:
        for _ in range(limits.max_redirects + 1):
            if not limits.allow_remote and not is_loopback_host(urlsplit(url).hostname):
                raise StageError("UrlNotAllowed")
            async with session.get(url, timeout=timeout, allow_redirects=False) as response:
                if response.status == _OK:
                    return await _read_bounded(response, limits.max_bytes)
                if response.status not in _REDIRECT_STATUSES or "Location" not in response.headers:
                    break
                url = urljoin(url, response.headers["Location"])
    except (aiohttp.ClientError, TimeoutError, ValueError):
        raise StageError("UrlNotReachable") from None
    raise StageError("UrlNotReachable")


async def _read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        data += chunk
        if len(data) > max_bytes:
            raise StageError("CsvTooLarge")
    return bytes(data)
