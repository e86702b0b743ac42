"""Choose the proxy for a request: the caller's, or else the environment's, with its exceptions.

aiohttp could read the environment itself, but it would also read `~/.netrc` and send passwords from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.request import getproxies_environment
from urllib.request import proxy_bypass_environment as _is_excepted  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] - missing in typeshed

import attrs
from yarl import URL

from indigo_async._profiles import Profile
from indigo_async._redaction import SecretText, secret
from indigo_async._validation import InputCheck, is_loopback_host

__all__ = ["Proxies", "Proxy"]

_LONGEST_SCHEME = 10


@attrs.frozen
class Proxy:
    """A proxy, and the argument or variable that names it. `url` may hold a password."""

    url: SecretText = attrs.field(repr=False)
    source: str

    @property
    def address(self) -> str:
        """Its URL without the user name and password."""
        return str(URL(self.url).origin())


@attrs.frozen
class Proxies:
    """The caller's proxy, or else the environment's proxies by URL scheme."""

    explicit: Proxy | None
    _environment: Mapping[str, str] = attrs.field(repr=False)

    @classmethod
    def resolve(cls, proxy: str | None, *, profile: Profile | None = None) -> Proxies:
        """Use `proxy` for all requests, else the profile's unless `INDIGO_PROXY` is set, else the environment's.

        Raises:
            InvalidInputError: `proxy` is not the URL of an HTTP proxy.
        """
        environment = getproxies_environment()
        source = "proxy"
        if proxy is None and profile is not None and "indigo" not in environment:
            proxy, source = profile.proxy, f"{profile.file}: {profile.name}.proxy"
        return cls(None if proxy is None else _check_proxy(source, secret(proxy)), environment)

    def find(self, url: URL) -> Proxy | None:
        """Return the proxy for a URL. For loopback, only the caller's proxy is used.

        Raises:
            InvalidInputError: the environment names one that is not an HTTP proxy.
        """
        if self.explicit is not None:
            return self.explicit
        if is_loopback_host(url.host) or _is_excepted(f"{url.host}:{url.port}", self._environment):
            return None
        return self._find_in_environment(url.scheme)

    def has_exception(self, url: URL) -> bool:
        """Whether `NO_PROXY` excludes a URL from the environment's proxies."""
        return self.explicit is None and self.find(url) is None and self._find_in_environment(url.scheme) is not None

    def object_store_options(self) -> dict[str, str]:
        """Return the options that make obstore follow the same rules. It reads the environment, but not `INDIGO_PROXY`.

        Raises:
            InvalidInputError: see `find`.
        """
        proxy = self.explicit or self._find_in_environment("https")
        if proxy is None:
            return {}
        exceptions = ("localhost", "127.0.0.1", "::1", *self._environment.get("no", "").split(","))
        return {"proxy_url": proxy.url} | ({} if self.explicit else {"proxy_excludes": ",".join(exceptions)})

    def _find_in_environment(self, scheme: str) -> Proxy | None:
        for kind in ("indigo", scheme, "all"):
            if kind in self._environment:
                return _check_proxy(_variable(kind), SecretText(self._environment[kind].strip()))
        return None


def _variable(kind: str) -> str:
    """The variable that sets the proxy for a scheme; lower case takes precedence."""
    name = f"{kind}_proxy"
    return name if os.environ.get(name) else name.upper()


def _check_proxy(source: str, text: str) -> Proxy:
    """Check that aiohttp can use a proxy. Messages never show its URL, which may hold a password.

    Raises:
        InvalidInputError: aiohttp can't use it.
    """
    check = InputCheck()
    check.text(source, text)
    check.raise_if_invalid()
    url = SecretText(text if "://" in text else f"http://{text}")
    scheme = url.partition("://")[0].lower()
    if scheme not in {"http", "https"}:
        shown = f"{scheme[:_LONGEST_SCHEME]}://" if scheme.isalnum() else "this kind of"
        check.add(source, f"{shown} proxies are not supported; use an HTTP proxy: http://host:port")
    elif not _is_usable(url):
        check.add(source, "must be the URL of an HTTP proxy: http://host:port or http://user:password@host:port")
    check.raise_if_invalid()
    return Proxy(url, source)


def _is_usable(url: str) -> bool:
    try:
        parsed = URL(url)
        # HTTP basic authentication supports only these characters.
        f"{parsed.user}{parsed.password}".encode("latin-1")
        return bool(parsed.host) and parsed.port is not None and ":" not in (parsed.user or "")
    except ValueError:
        return False
