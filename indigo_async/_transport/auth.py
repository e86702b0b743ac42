"""The API token, and its replacement when the server rejects it."""

from __future__ import annotations

import asyncio
import inspect
import logging

from indigo_async._redaction import SecretText
from indigo_async._tokens import TokenSource, check_token, normalize_token
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck

__all__ = ["Credentials"]

_logger = logging.getLogger("indigo_async")


class Credentials:
    """The current `token`; if it comes from a source, it is empty until `open`.

    `authorization` is the header with the token.
    """

    token: SecretText
    authorization: SecretText

    def __init__(self, token: str | TokenSource) -> None:
        self._set_token(SecretText(token) if isinstance(token, str) else SecretText())
        self._source = None if isinstance(token, str) else token
        self._refresh_lock = asyncio.Lock()
        self._refresh_count = 0

    async def open(self) -> None:
        """Get the first token from the source, if there is one.

        Raises:
            InvalidInputError: it returned no valid token.
        """
        if self._source is not None:
            self._set_token(await _fetch_token(self._source))

    def _set_token(self, token: SecretText) -> None:
        self.token = token
        self.authorization = SecretText(f"Bearer {token}")

    async def refresh(self, rejected_token: str) -> bool:
        """Return whether there is now another token than `rejected_token`.

        Requests that are rejected at the same time share one call of the source.
        """
        if self._source is None:
            return False
        refreshes_before = self._refresh_count
        async with self._refresh_lock:
            if self.token == rejected_token and self._refresh_count == refreshes_before:
                try:
                    self._set_token(await _fetch_token(self._source))
                except Exception as error:  # noqa: BLE001 - the 401 is raised; the error's message may hold a token
                    _logger.warning("the server rejected the token and its source failed: %s", type(error).__name__)
                self._refresh_count += 1
        return self.token != rejected_token


async def _fetch_token(source: TokenSource) -> SecretText:
    """Call the source: a coroutine function here, a plain function, which may block, in a thread."""
    result = source() if inspect.iscoroutinefunction(source) else await run_in_thread(source)
    token = normalize_token(await result if inspect.isawaitable(result) else result)
    check = InputCheck()
    check_token(check, token)
    check.raise_if_invalid()
    return token
