"""The URL of a download: spelled as a request needs it, and safe to ask."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from indigo_async._redaction import SecretText
from indigo_async._validation import is_loopback_host, is_private_host
from indigo_async.errors import DownloadError

__all__ = ["validate_url"]

_NOT_IN_URLS = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")


def validate_url(location: str, *, referrer_url: str) -> SecretText:
    """Where the API or a redirect, at the URL `referrer_url`, sends us: an address that is safe to ask.

    Raises:
        DownloadError: it is not; the message holds nothing of it but scheme and host.
    """
    try:
        from_host = urlsplit(referrer_url).hostname
        url = _encode_url(location, referrer_url)
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise DownloadError("the download's address is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise DownloadError(f"the download's address has the scheme {parts.scheme!r}; only https is followed")
    if not host:
        raise DownloadError("the download's address names no host")
    if parts.username or parts.password:
        raise DownloadError(f"the download's address at {host} holds a user name or password")
    # This machine may send us around on itself; nobody else may send us to it. A name that resolves to a private
    # address is let pass: a bucket's may, within a cloud, and the certificate shows that the host is the one named.
    if is_loopback_host(from_host) and is_loopback_host(host):
        return SecretText(url)
    if parts.scheme == "http":
        raise DownloadError(f"the download at {host} is not https; people's data would travel in the clear")
    if is_private_host(host) and not is_private_host(from_host):
        raise DownloadError(f"the download at {host} is in a private network, where {from_host} may not send us")
    return SecretText(url)


def _encode_url(location: str, sender: str) -> str:
    """An absolute URL in ASCII. What a server forgot to encode is encoded; a legal URL, whose signature counts, stays.

    Raises:
        ValueError: it is no URL.
    """
    location = re.sub(r"[\t\r\n]", "", location.strip())  # which urlsplit ignores, too
    url = location if urlsplit(location).scheme else urljoin(sender, location)
    parts = urlsplit(url)
    netloc = parts.netloc
    if not netloc:
        return url
    rest = url[url.index("//") + 2 + len(netloc) :]
    if not netloc.isascii():
        user, at, _ = netloc.rpartition("@")
        host = (parts.hostname or "").encode("idna").decode()
        netloc = f"{user}{at}{host}{'' if parts.port is None else f':{parts.port}'}"
    encoded = _NOT_IN_URLS.sub(lambda found: quote(found[0], safe=""), rest)
    return f"{parts.scheme}://{netloc}{encoded}"
