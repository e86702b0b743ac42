"""The API's URL and the token, from arguments or the environment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import attrs

from indigo_async._redaction import secret
from indigo_async._tokens import TokenSource, check_token, normalize_token, token_from_environment
from indigo_async._validation import InputCheck, is_loopback_host

__all__ = ["DEFAULT_BASE_URL", "Settings"]

DEFAULT_BASE_URL = "https://app.indigo.engineering/api/v1"
"""API reference: "API Setup"."""

_BASE_URL_VARIABLE = "INDIGO_BASE_URL"


@attrs.frozen
class Settings:
    """A valid base URL (without a trailing slash), and a valid token or its source. The token is not in the repr."""

    base_url: str
    token: str | TokenSource = attrs.field(repr=False)

    @classmethod
    def resolve(cls, token: str | TokenSource | None, base_url: str | None) -> Settings:
        """Use the arguments, else the environment, else the public API.

        `INDIGO_API_TOKEN` is the token, `INDIGO_API_TOKEN_FILE` the path of a file that holds it, `INDIGO_BASE_URL` the
        base URL.

        Raises:
            InvalidInputError: there is no token, the token is malformed, or the base URL is not a valid https URL.
        """
        token = secret(token)
        check = InputCheck()
        chosen_token = token if token is not None else token_from_environment()
        if not callable(chosen_token):
            chosen_token = normalize_token(chosen_token)
            check_token(check, chosen_token)
        chosen_url = base_url if base_url is not None else os.environ.get(_BASE_URL_VARIABLE) or DEFAULT_BASE_URL
        _check_base_url(check, chosen_url)
        check.raise_if_invalid()
        return cls(chosen_url.rstrip("/"), chosen_token)

    @property
    def is_loopback(self) -> bool:
        return is_loopback_host(urlsplit(self.base_url).hostname)


def _check_base_url(check: InputCheck, base_url: str) -> None:
    where = "base_url"
    if not check.text(where, base_url):
        return
    try:
        parts = urlsplit(base_url)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:  # includes UnicodeError: a host name that can't be encoded
        check.add(where, "is not a URL")
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        check.add(where, "must be an absolute https URL")
        return
    if parts.scheme == "http" and not is_loopback_host(parts.hostname):
        check.add(where, "must be https, except on loopback: http would send the token unencrypted")
    # After even an empty query or fragment, the endpoint's path would be part of it.
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        check.add(where, "must not contain a user name, password, query or fragment")
    if any(character.isspace() for character in base_url):
        check.add(where, "must not contain spaces")
