"""What goes wrong with status checks: for the error of each wait, and once for all in the log."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Protocol

import attrs

from indigo_async.errors import IndigoError, RateLimitedError
from indigo_async.hidden import hide_secrets
from indigo_async.polling.waits import Watch

__all__ = ["Alarm", "Observer", "Trouble", "one_line", "trouble_of"]

_logger = logging.getLogger("indigo_async")

# A message of the API's, which the transport cuts at 500, with its status and type.
_LONGEST_TEXT = 800
# So many failures in a row are an outage: they take four intervals at least.
_MANY_FAILURES = 5
# In seconds, between two warnings of a kind: outages that come and go must not fill the log.
_QUIET = 600.0
_OUTAGE, _EXHAUSTED = 1, 2
_MEANS_EXHAUSTED = re.compile("QUOTA|EXCEEDEDPLAN|BILLING|SUBSCRIPTION|EXHAUST")


@attrs.frozen
class Trouble:
    """How many status checks of an audience failed in a row, and the error of the last one."""

    failures: int
    error: str


class Observer(Protocol):
    """Whoever waits, as far as it wants to know how its wait ended."""

    def given_up(self, trouble: Trouble | None) -> None:
        """Called when the wait is cancelled, with what failed last."""
        ...


def trouble_of(watch: Watch) -> Trouble | None:
    """What failed since an audience was seen last, in single reads and in lists; None where nothing did."""
    own = watch.failures + watch.refusals
    of_lists = 0 if watch.alone else watch.customer.failures
    error = watch.problem if own else watch.customer.problem
    return Trouble(own + of_lists, error or "") if own + of_lists else None


def one_line(text: str, token: str = "", *, longest: int = _LONGEST_TEXT) -> str:
    """A text of the server's, for messages: without secrets, on one line, and not too long."""
    printable = "".join(mark if mark.isprintable() else " " for mark in hide_secrets(text, token))
    return " ".join(printable.split())[:longest]


class Alarm:
    """Logs one warning for each outage of a client, however many audiences wait through it.

    An outage begins when status checks of one audience, or a list, have failed several times in a row. It ends with the
    next good response. A refusal that says that a quota is used up is worth a warning at once.
    """

    def __init__(self) -> None:
        self._level = 0
        self._warned: dict[int, float] = {}

    def failed(self, what: str, failures: int, error: IndigoError, *, waiting: int) -> None:
        """Note that a status check failed, as `failures` in a row did, while `waiting` audiences are waited for."""
        if isinstance(error, RateLimitedError) and _means_exhausted(error.error_type):
            level = _EXHAUSTED
        elif _MANY_FAILURES <= failures < 2 * _MANY_FAILURES:
            level = _OUTAGE
        else:
            return
        now = asyncio.get_running_loop().time()
        if level <= self._level or now < self._warned.get(level, float("-inf")) + _QUIET:
            return
        self._level, self._warned[level] = level, now
        _logger.warning(
            "%s; audiences waiting: %d. Waits go on until their deadlines. The last error: %s",
            "the server refuses status checks, since a quota or a plan seems to be used up"
            if level == _EXHAUSTED
            else f"the last {failures} status checks of {what} failed",
            waiting,
            one_line(str(error)),
        )

    def over(self) -> None:
        """Note a good response, or that nobody waits any more."""
        self._level = 0


def _means_exhausted(error_type: str | None) -> bool:
    letters = re.sub("[^A-Z]", "", (error_type or "").upper())
    return _MEANS_EXHAUSTED.search(letters) is not None
