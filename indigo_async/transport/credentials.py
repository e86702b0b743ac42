"""The token at hand, and where a fresh one comes from when the server refuses it."""

from __future__ import annotations

import asyncio
import inspect
import logging

from aiohttp import hdrs
from multidict import CIMultiDict

from indigo_async.hidden import HiddenText, hidden
from indigo_async.inputs import InputCheck
from indigo_async.settings import TokenSource, check_token
from indigo_async.transport.shield import in_thread

__all__ = ["Credentials"]

_logger = logging.getLogger("indigo_async")


class Credentials:
    """Holds the `token` that requests are sent with; empty until `open` where it comes from a source.

    The `headers` with it in them are made once for each token, and copied for each request.
    """

    token: HiddenText
    headers: CIMultiDict[str]

    def __init__(self, token: str | TokenSource) -> None:
        self._take(HiddenText(token) if isinstance(token, str) else HiddenText())
        self._source = None if isinstance(token, str) else token
        self._asking = asyncio.Lock()
        self._times_asked = 0

    async def open(self) -> None:
        """Ask the source, where there is one, for the first token.

        Raises:
            InvalidInputError: it gave none, or one that no header can carry.
        """
        if self._source is not None:
            self._take(await _asked(self._source))

    def _take(self, token: HiddenText) -> None:
        self.token = token
        self.headers = CIMultiDict({hdrs.AUTHORIZATION: HiddenText(f"Bearer {token}"), hdrs.ACCEPT: "application/json"})

    async def renewed(self, refused: str) -> bool:
        """Whether there is another token than the `refused` one.

        The source is asked once by all who are refused while it is being asked.
        """
        if self._source is None:
            return False
        times_asked = self._times_asked
        async with self._asking:
            if self.token == refused and self._times_asked == times_asked:
                try:
                    self._take(await _asked(self._source))
                except Exception as error:  # noqa: BLE001 - the refusal stands; the source's words may hold a token
                    _logger.warning("the token was refused and its source failed: %s", type(error).__name__)
                self._times_asked += 1
        return self.token != refused


async def _asked(source: TokenSource) -> HiddenText:
    """What a source gives: a coroutine function is called here, any other, which may block, in a thread."""
    given = source() if inspect.iscoroutinefunction(source) else await in_thread(source)
    token = hidden(await given if inspect.isawaitable(given) else given)
    check = InputCheck()
    check_token(check, token)
    check.done()
    return HiddenText(token)
