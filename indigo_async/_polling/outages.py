"""What goes wrong with status checks: for the error of each wait, and once for all in the log."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Protocol

import attrs

from indigo_async._polling.watchlist import Watch
from indigo_async._redaction import sanitize_text
from indigo_async.errors import IndigoError, RateLimitedError

__all__ = ["OutageLog", "PollFailures", "WaitObserver", "get_recent_failures"]

_logger = logging.getLogger("indigo_async")

# A message of the API's, which the transport cuts at 500, with its status and type.
# So many failures in a row are an outage: they take four intervals at least.
_OUTAGE_FAILURES = 5
# In seconds, between two warnings of a kind: outages that come and go must not fill the log.
_WARNING_INTERVAL = 600.0
_OUTAGE_LEVEL, _QUOTA_LEVEL = 1, 2
_QUOTA_ERROR_TYPE = re.compile("QUOTA|EXCEEDEDPLAN|BILLING|SUBSCRIPTION|EXHAUST")


@attrs.frozen
class PollFailures:
    """How many status checks of an audience failed in a row, and the error of the last one."""

    count: int
    last_error: str


class WaitObserver(Protocol):
    """Whoever waits, as far as it wants to know how its wait ended."""

    def wait_cancelled(self, failures: PollFailures | None) -> None:
        """Called when the wait is cancelled, with what failed last."""
        ...


def get_recent_failures(watch: Watch) -> PollFailures | None:
    """What failed since an audience was seen last, in single reads and in lists; None where nothing did."""
    own = watch.failures + watch.refusals
    of_lists = 0 if watch.polled_individually else watch.customer.failures
    error = watch.last_error if own else watch.customer.last_error
    return PollFailures(own + of_lists, error or "") if own + of_lists else None


class OutageLog:
    """Logs one warning for each outage of a client, however many audiences wait through it.

    An outage begins when status checks of one audience, or a list, have failed several times in a row. It ends with the
    next good response. A refusal that says that a quota is used up is worth a warning at once.
    """

    def __init__(self) -> None:
        self._level = 0
        self._warned: dict[int, float] = {}

    def record_failure(self, what: str, failures: int, error: IndigoError, *, waiting: int) -> None:
        """Note that a status check failed, as `count` in a row did, while `waiting` audiences are waited for."""
        if isinstance(error, RateLimitedError) and _is_quota_error(error.error_type):
            level = _QUOTA_LEVEL
        elif _OUTAGE_FAILURES <= failures < 2 * _OUTAGE_FAILURES:
            level = _OUTAGE_LEVEL
        else:
            return
        now = asyncio.get_running_loop().time()
        if level <= self._level or now < self._warned.get(level, float("-inf")) + _WARNING_INTERVAL:
            return
        self._level, self._warned[level] = level, now
        _logger.warning(
            "%s; audiences waiting: %d. Waits go on until their deadlines. The last error: %s",
            "the server refuses status checks, since a quota or a plan seems to be used up"
            if level == _QUOTA_LEVEL
            else f"the last {failures} status checks of {what} failed",
            waiting,
            sanitize_text(str(error)),
        )

    def record_recovery(self) -> None:
        """Note a good response, or that nobody waits any more."""
        self._level = 0


def _is_quota_error(error_type: str | None) -> bool:
    letters = re.sub("[^A-Z]", "", (error_type or "").upper())
    return _QUOTA_ERROR_TYPE.search(letters) is not None
