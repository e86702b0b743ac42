"""The API's URL and the token, from arguments, a profile or the environment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import attrs

from indigo_async._profiles import Profile, read_profile
from indigo_async._redaction import secret
from indigo_async._tokens import TokenSource, check_token, normalize_token, token_from_environment
from indigo_async._validation import InputCheck, is_loopback_host

__all__ = ["DEFAULT_BASE_URL", "Settings"]

DEFAULT_BASE_URL = "https://app.indigo.engineering/api/v1"
"""API reference: "API Setup"."""

_BASE_URL_VARIABLE = "INDIGO_BASE_URL"
_PROFILE_VARIABLE = "INDIGO_PROFILE"


@attrs.frozen
class Settings:
    """A valid base URL (without a trailing slash), and a valid token or its source. The token is not in the repr."""

    base_url: str
    token: str | TokenSource = attrs.field(repr=False)
    profile: Profile | None = None

    @classmethod
    def resolve(cls, token: str | TokenSource | None, base_url: str | None, *, profile: str | None = None) -> Settings:
        """Use the arguments, else the environment, else the profile, else the public API.

        `INDIGO_API_TOKEN` is the token, `INDIGO_API_TOKEN_FILE` the path of a file that holds it, `INDIGO_BASE_URL` the
        base URL. `INDIGO_PROFILE` names a profile, unless there is an argument `profile` or `token`.

        The token decides which account pays, so an environment and a profile with different tokens are an error.

        Raises:
            InvalidInputError: there is no token, the token is malformed, the base URL is not a valid https URL, or the
                profile can't be used.
        """
        token = secret(token)
        check = InputCheck()
        if token is not None and profile is not None:
            check.add("profile", "pass token or profile, not both")
            check.raise_if_invalid()
        chosen = None if token is not None else _find_profile(profile)
        if token is None:
            token = token_from_environment() if chosen is None else chosen.token_source
        if not callable(token):
            token = normalize_token(token)
            check_token(check, token)
        where = "base_url"
        if base_url is None:
            base_url = os.environ.get(_BASE_URL_VARIABLE)
            if not base_url and chosen is not None and chosen.base_url is not None:
                where, base_url = f"{chosen.file}: {chosen.name}.base_url", chosen.base_url
            base_url = base_url or DEFAULT_BASE_URL
        _check_base_url(check, where, base_url)
        check.raise_if_invalid()
        return cls(base_url.rstrip("/"), token, chosen)

    @property
    def is_loopback(self) -> bool:
        return is_loopback_host(urlsplit(self.base_url).hostname)


def _find_profile(name: str | None) -> Profile | None:
    if name is not None:
        return read_profile(name, named_by="profile=...")
    name = os.environ.get(_PROFILE_VARIABLE)
    return read_profile(name, named_by=_PROFILE_VARIABLE) if name else None


def _check_base_url(check: InputCheck, where: str, base_url: str) -> None:
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
