"""Validate the URL of a download, and encode it as a request needs it."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from indigo_async._redaction import SecretText
from indigo_async._validation import is_loopback_host, is_private_host
from indigo_async.errors import DownloadError

__all__ = ["validate_url"]

_NOT_IN_URLS = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")


def validate_url(location: str, *, referrer_url: str) -> SecretText:
    """Return the absolute URL to which the API or a redirect at `referrer_url` sends us, if it is safe to request.

    Raises:
        DownloadError: it is not. The message shows only its scheme and host.
    """
    try:
        referrer_host = urlsplit(referrer_url).hostname
        url = _encode_url(location, referrer_url)
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise DownloadError("the download's address is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise DownloadError(f"the download URL has the scheme {parts.scheme!r}; only https is allowed")
    if not host:
        raise DownloadError("the download URL has no host")
    if parts.username or parts.password:
        raise DownloadError(f"the download URL at {host} contains a user name or password")
    # A server on this machine may send us to this machine; nobody else may. A name that resolves to a private address
    # is allowed: buckets inside a cloud do, and the certificate shows that the host is the one named.
    if is_loopback_host(referrer_host) and is_loopback_host(host):
        return SecretText(url)
    if parts.scheme == "http":
        raise DownloadError(f"the download at {host} is not https; voters' data would be sent unencrypted")
    if is_private_host(host) and not is_private_host(referrer_host):
        raise DownloadError(f"the download at {host} is on a private network, and {referrer_host} is not")
    return SecretText(url)


def _encode_url(location: str, base_url: str) -> str:
    """Make a URL absolute and ASCII. Unencoded characters are encoded; a valid, perhaps signed, URL is unchanged.

    Raises:
        ValueError: it is not a URL.
    """
    location = re.sub(r"[\t\r\n]", "", location.strip())  # urlsplit ignores these, too
    url = location if urlsplit(location).scheme else urljoin(base_url, location)
    parts = urlsplit(url)
    netloc = parts.netloc
    if not netloc:
        return url
    rest = url[url.index("//") + 2 + len(netloc) :]
    if not netloc.isascii():
        user, at, _ = netloc.rpartition("@")
        host = (parts.hostname or "").encode("idna").decode()
        netloc = f"{user}{at}{host}{'' if parts.port is None else f':{parts.port}'}"
    encoded = _NOT_IN_URLS.sub(lambda match: quote(match[0], safe=""), rest)
    return f"{parts.scheme}://{netloc}{encoded}"
