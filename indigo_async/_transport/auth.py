"""The token at hand, and where a fresh one comes from when the server refuses it."""

from __future__ import annotations

import asyncio
import inspect
import logging

from aiohttp import hdrs
from multidict import CIMultiDict

from indigo_async._redaction import SecretText, secret
from indigo_async._settings import TokenSource, check_token
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck

__all__ = ["Credentials"]

_logger = logging.getLogger("indigo_async")


class Credentials:
    """Holds the `token` that requests are sent with; empty until `open` where it comes from a source.

    The `headers` with it in them are made once for each token, and copied for each request.
    """

    token: SecretText
    headers: CIMultiDict[str]

    def __init__(self, token: str | TokenSource) -> None:
        self._set_token(SecretText(token) if isinstance(token, str) else SecretText())
        self._source = None if isinstance(token, str) else token
        self._refresh_lock = asyncio.Lock()
        self._refresh_count = 0

    async def open(self) -> None:
        """Ask the source, where there is one, for the first token.

        Raises:
            InvalidInputError: it gave none, or one that no header can carry.
        """
        if self._source is not None:
            self._set_token(await _fetch_token(self._source))

    def _set_token(self, token: SecretText) -> None:
        self.token = token
        self.headers = CIMultiDict({hdrs.AUTHORIZATION: SecretText(f"Bearer {token}"), hdrs.ACCEPT: "application/json"})

    async def refresh(self, rejected_token: str) -> bool:
        """Whether there is another token than the `rejected_token` one.

        The source is asked once by all who are refused while it is being asked.
        """
        if self._source is None:
            return False
        times_asked = self._refresh_count
        async with self._refresh_lock:
            if self.token == rejected_token and self._refresh_count == times_asked:
                try:
                    self._set_token(await _fetch_token(self._source))
                except Exception as error:  # noqa: BLE001 - the refusal stands; the source's words may hold a token
                    _logger.warning("the token was refused and its source failed: %s", type(error).__name__)
                self._refresh_count += 1
        return self.token != rejected_token


async def _fetch_token(source: TokenSource) -> SecretText:
    """What a source gives: a coroutine function is called here, any other, which may block, in a thread."""
    given = source() if inspect.iscoroutinefunction(source) else await run_in_thread(source)
    token = secret(await given if inspect.isawaitable(given) else given)
    check = InputCheck()
    check_token(check, token)
    check.raise_if_invalid()
    return SecretText(token)
