"""Signed download URLs that expire."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import quote, unquote

import attrs

from indigo_async.sandbox.clock import Clock
from indigo_async.sandbox.errors import ErrorType, HttpError

__all__ = ["DOWNLOADS_PATH", "UrlSigner"]

DOWNLOADS_PATH = "/downloads/"


def _new_key() -> bytes:
    return secrets.token_bytes(32)


@attrs.frozen
class UrlSigner:
    """Creates and checks download URLs. `lifetime` is in sandbox seconds."""

    origin: str
    clock: Clock
    lifetime: float
    _key: bytes = attrs.field(factory=_new_key, repr=False)

    def _sign(self, export_id: str, expires: str) -> str:
        return hmac.new(self._key, f"{export_id}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def url_for(self, export_id: object) -> str:
        """Return a new URL for an export's CSV."""
        expires = f"{self.clock.now() + self.lifetime:.3f}"
        signature = self._sign(str(export_id), expires)
        return f"{self.origin}{DOWNLOADS_PATH}{quote(str(export_id))}?expires={expires}&signature={signature}"

    def verify(self, path: str, query: Mapping[str, str]) -> str:
        """Return the export ID of a URL.

        Raises:
            HttpError: 403, if the URL was not signed by this sandbox or has expired.
        """
        export_id = unquote(path.removeprefix(DOWNLOADS_PATH))
        expires = query.get("expires", "")
        signature = query.get("signature", "")
        if not hmac.compare_digest(self._sign(export_id, expires).encode(), signature.encode()):
            raise HttpError(403, ErrorType.DOWNLOAD_REFUSED, "This download URL is not valid.")
        if self.clock.now() > float(expires):
            raise HttpError(
                403, ErrorType.DOWNLOAD_REFUSED, "This download URL has expired: retrieve the audience again."
            )
        return export_id
