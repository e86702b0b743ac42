"""Explain why a request got no response: what an aiohttp or OpenSSL exception means, and what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from indigo_async._transport.responses import FailureReason, NoResponse

__all__ = ["classify_failure", "explain_tls_failure"]

_UNKNOWN_HOST_ERRORS = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""Other name resolution errors mean that the resolver could not be reached."""

_TRANSIENT_PROXY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_TLS_RECORD = r"b'\x15\x03"
"""How aiohttp quotes the start of a TLS alert in place of a status line."""

_CLOCK_ADVICE = "check this machine's clock; if it is right, the server needs a new certificate"
_CA_ADVICE = (
    "if a proxy inspects TLS, or the server has its own certificate authority, "
    "set SSL_CERT_FILE to the file with the authority's certificate"
)
_HOST_ADVICE = "check the host name in the URL"

# By OpenSSL's verification codes: https://docs.openssl.org/master/man1/openssl-verification-options/#diagnostics
_CERTIFICATE_FAILURES = {
    9: ("the certificate is not valid yet", _CLOCK_ADVICE),
    10: ("the certificate has expired", _CLOCK_ADVICE),
    18: ("the certificate is self-signed", _CA_ADVICE),
    19: ("the certificate was issued by an unknown authority", _CA_ADVICE),
    20: ("the certificate was issued by an unknown authority", _CA_ADVICE),
    21: ("the certificate was issued by an unknown authority", _CA_ADVICE),
    62: ("the certificate is for another host", _HOST_ADVICE),
    64: ("the certificate is for another host", _HOST_ADVICE),
}

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
_TRANSIENT_TLS_FAILURES = frozenset({"UNEXPECTED_EOF_WHILE_READING", "TLSV1_ALERT_INTERNAL_ERROR"})
"""Errors of a server that is starting, stopping or overloaded."""

_VERSION_MISMATCH = frozenset(
    {
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    }
)


def explain_tls_failure(error: ssl.SSLError) -> tuple[str, str]:
    """Return the problem and the advice."""
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = (f"the certificate was not accepted: {error.verify_message}", _CA_ADVICE)
        return _CERTIFICATE_FAILURES.get(error.verify_code, unknown)
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return (
            "the server on this port does not use TLS",
            "if it serves plain HTTP, use http:// (allowed only on this machine); otherwise check the port",
        )
    if reason in _VERSION_MISMATCH:
        return "no common TLS version", "the server or a proxy supports only TLS versions that are no longer safe"
    return f"the TLS handshake failed: {_spell_out(reason) or type(error).__name__}", "check the port"


def classify_failure(error: Exception, url: URL, *, proxy: URL | None = None) -> NoResponse:
    """Explain a failed request to `url`, sent through `proxy`. Shows neither's path, query or credentials."""
    match error:
        case aiohttp.ClientConnectorError():
            return _classify_connector_error(error, proxy)
        case aiohttp.ClientHttpProxyError():
            return _classify_proxy_refusal(error.status, url, proxy)
        case aiohttp.ConnectionTimeoutError():
            address = _address(url.host, url.port)
            if proxy is not None:
                address += f" through the proxy {_address(proxy.host, proxy.port)}"
            return NoResponse(FailureReason.NOT_SENT, f"{address}, connection timed out")
        case TimeoutError():
            return NoResponse(FailureReason.TIMEOUT, type(error).__name__)
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            return NoResponse(FailureReason.UNREADABLE, "the body does not match its Content-Encoding")
        case _:
            return NoResponse(FailureReason.BROKEN, _describe_broken_connection(error))


def _describe_broken_connection(error: Exception) -> str:
    """Say why a response is incomplete, without quoting it."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {_spell_out(error.reason)}"
    if not isinstance(error, aiohttp.ClientResponseError):
        return type(error).__name__
    if error.message.startswith("Got more than"):
        return "the response's headers are too large"
    if _TLS_RECORD in error.message:
        return "the server expects TLS; use https://"
    return "the response is not valid HTTP"


def _classify_connector_error(error: aiohttp.ClientConnectorError, proxy: URL | None) -> NoResponse:
    is_proxy = proxy is not None and (error.host, error.port) == (proxy.host, proxy.port)
    address = f"{'the proxy ' if is_proxy else ''}{_address(error.host, error.port)}"
    advice = "check the proxy's URL, and that it is running" if is_proxy else ""
    cause = error.os_error
    if isinstance(cause, ssl.SSLError) and cause.reason not in _TRANSIENT_TLS_FAILURES:
        problem, tls_advice = explain_tls_failure(cause)
        is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
        reason = FailureReason.UNTRUSTED if is_certificate else FailureReason.NO_TLS
        return NoResponse(reason, f"{address}: {problem}", tls_advice)
    if isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN_HOST_ERRORS:
        return NoResponse(FailureReason.UNKNOWN_HOST, address, advice)
    return NoResponse(FailureReason.NOT_SENT, f"{address}, {_describe_os_error(cause)}", advice)


def _classify_proxy_refusal(status: int, url: URL, proxy: URL | None) -> NoResponse:
    """Explain a proxy's response to `CONNECT`. Nothing was sent to the server."""
    through = "the proxy" if proxy is None else f"the proxy {_address(proxy.host, proxy.port)}"
    detail = f"{through} responded {status} to a connection to {_address(url.host, url.port)}"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        advice = "the proxy's URL needs a valid user name and password: http://user:password@host:port"
        return NoResponse(FailureReason.PROXY_UNUSABLE, detail, advice)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_PROXY_STATUSES:
        return NoResponse(FailureReason.NOT_SENT, detail)
    return NoResponse(FailureReason.PROXY_UNUSABLE, detail, "ask the proxy's administrator to allow this host")


def _address(host: str | None, port: int | None) -> str:
    return f"[{host}]:{port}" if host and ":" in host else f"{host}:{port}"


def _describe_os_error(error: OSError) -> str:
    """Return the system's message alone, such as "connection refused", without aiohttp's text around it."""
    if isinstance(error, ssl.SSLError):
        return _spell_out(error.reason or type(error).__name__)
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, ConnectionResetError):
        return os.strerror(errno.ECONNRESET).lower()
    return error.strerror or type(error).__name__


def _spell_out(reason: str) -> str:
    return reason.replace("_", " ").lower()
