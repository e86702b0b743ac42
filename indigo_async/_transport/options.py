"""What each request may change: the timeout, the retry policy, and headers. Everything else is shared by a client."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
import attrs
from aiohttp import hdrs
from multidict import CIMultiDict

from indigo_async._exact import describe_kind, to_plain
from indigo_async._redaction import SecretText
from indigo_async._text import short_repr
from indigo_async._transport.retry import RetryPolicy
from indigo_async._validation import InputCheck
from indigo_async._version import __version__

__all__ = ["RequestOptions", "check_headers", "check_user_agent", "make_socket_timeout"]

_CONNECT_SECONDS = 15.0
# Shorter values, such as "1" or "true", are not secrets, and hiding them would make errors unreadable.
_MIN_SECRET_LENGTH = 8

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_RESERVED_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that carry the token or frame the request."""

_USER_AGENT = f"indigo-async/{__version__} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


def make_socket_timeout(timeout: float, *, read: float | None = None) -> aiohttp.ClientTimeout:
    """Return the timeout for a connection and for each read. The request as a whole has its own timer."""
    return aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, timeout / 2), sock_read=read)


def _all_headers(user_agent: str, extra_headers: CIMultiDict[str]) -> CIMultiDict[str]:
    headers = CIMultiDict({hdrs.ACCEPT: "application/json", hdrs.USER_AGENT: user_agent})
    headers.update(extra_headers)
    return headers


def _find_secrets(extra_headers: CIMultiDict[str]) -> tuple[str, ...]:
    return tuple(value for value in extra_headers.values() if len(value) >= _MIN_SECRET_LENGTH)


@attrs.frozen
class RequestOptions:
    """The options of a request. `timeout` is in seconds, `extra_headers` are the caller's.

    - `headers` are all headers but the token's.
    - `secrets` are values of the caller's headers, which errors must not show.
    """

    timeout: float
    retry: RetryPolicy
    user_agent: str = _USER_AGENT
    extra_headers: CIMultiDict[str] = attrs.field(factory=CIMultiDict[str], repr=False)
    headers: CIMultiDict[str] = attrs.field(
        default=attrs.Factory(lambda self: _all_headers(self.user_agent, self.extra_headers), takes_self=True),
        init=False,
        repr=False,
    )
    secrets: tuple[str, ...] = attrs.field(
        default=attrs.Factory(lambda self: _find_secrets(self.extra_headers), takes_self=True), init=False, repr=False
    )
    socket_timeout: aiohttp.ClientTimeout = attrs.field(
        default=attrs.Factory(lambda self: make_socket_timeout(self.timeout), takes_self=True), init=False, repr=False
    )

    def replace(self, *, timeout: float | None, retry: RetryPolicy | None, headers: CIMultiDict[str]) -> RequestOptions:
        """Return these options with other ones. `headers` are added and replace those of the same name."""
        extra_headers = self.extra_headers.copy()
        extra_headers.update(headers)
        return RequestOptions(
            self.timeout if timeout is None else timeout,
            self.retry if retry is None else retry,
            self.user_agent,
            extra_headers,
        )


def check_headers(check: InputCheck, value: object) -> CIMultiDict[str]:
    """Check headers. Messages never show their values, which may be secrets."""
    headers: CIMultiDict[str] = CIMultiDict()
    if value is None:
        return headers
    if not isinstance(value, Mapping):
        check.add("headers", f"must be a mapping, not {describe_kind(value)}")
        return headers
    for given_name, given_value in cast("Mapping[Any, Any]", value).items():
        name, text = to_plain(given_name), to_plain(given_value)
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            check.add("headers", f"{short_repr(name)} is not the name of a header")
            continue
        where = f"headers.{name}"
        if name.lower() in _RESERVED_HEADERS:
            check.add(where, "is set by the client")
        elif name in headers:
            check.add(where, "is given twice: the case of a name doesn't matter")
        else:
            headers[name] = _check_value(check, where, text)
    return headers


def check_user_agent(check: InputCheck, value: object) -> str:
    """Check what follows the SDK's own `User-Agent`. Returns the whole of it."""
    return _USER_AGENT if value is None else f"{_USER_AGENT} {_check_value(check, 'user_agent', to_plain(value))}"


def _check_value(check: InputCheck, where: str, value: object) -> SecretText:
    if not isinstance(value, str):
        check.add(where, f"must be text, not {describe_kind(value)}")
    elif not _HEADER_VALUE.fullmatch(value):
        check.add(where, "must be printable ASCII without whitespace at its ends")
    else:
        return SecretText(value)
    return SecretText()
