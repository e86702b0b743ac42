"""Trust the system's certificate authorities and those that the environment adds.

OpenSSL reads `SSL_CERT_FILE` and `SSL_CERT_DIR` itself, but says nothing if they are wrong. `REQUESTS_CA_BUNDLE` and
`CURL_CA_BUNDLE` are the variables of pip, requests and curl; their authorities are trusted as well.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

from indigo_async._validation import InputCheck

__all__ = ["BUNDLE_VARIABLES", "create_tls_context"]

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FOLDERS_VARIABLE = "SSL_CERT_DIR"


def create_tls_context() -> ssl.SSLContext | None:
    """Return a context that trusts the environment's authorities; None if it sets none. Reads files on first use.

    Raises:
        InvalidInputError: a variable names an unreadable file, a file without a certificate, or a missing folder.
    """
    bundles = {name: os.environ[name] for name in BUNDLE_VARIABLES if os.environ.get(name)}
    return _create_tls_context(tuple(bundles.items()), os.environ.get(_FOLDERS_VARIABLE, ""))


@cache
def _create_tls_context(bundles: tuple[tuple[str, str], ...], folders: str) -> ssl.SSLContext | None:
    if not bundles and not folders:
        return None
    check = InputCheck()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    for name, path in bundles:
        _trust(check, context, name, Path(path).expanduser())
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        check.add(_FOLDERS_VARIABLE, f"{folders} is not a folder")
    check.raise_if_invalid()
    return context


def _trust(check: InputCheck, context: ssl.SSLContext, variable: str, path: Path) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        check.add(variable, f"{path} contains no certificates in PEM format")
    except OSError as error:
        check.add(
            variable, f"{path}: {error.strerror or type(error).__name__}; it must contain the trusted certificates"
        )
