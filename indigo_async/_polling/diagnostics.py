"""What polling logs: one warning per outage and per unknown status, and where bugs were raised."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from enum import StrEnum

from indigo_async._redaction import sanitize_text
from indigo_async.errors import IndigoError, RateLimitedError
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, is_failure_status

__all__ = ["OutageLog", "UnknownStatusLog", "log_unexpected_error"]

_logger = logging.getLogger("indigo_async")

# Failures in a row that count as an outage. They take at least four intervals.
_OUTAGE_FAILURES = 5
# Seconds between two warnings of the same level: recurring outages must not fill the log.
_WARNING_INTERVAL = 600.0
_OUTAGE_LEVEL, _QUOTA_LEVEL = 1, 2
_QUOTA_ERROR_TYPE = re.compile("QUOTA|EXCEEDEDPLAN|BILLING|SUBSCRIPTION|EXHAUST")
# Bounds memory and the log if a server keeps inventing statuses.
_MAX_LOGGED_STATUSES = 100
_MAX_STATUS_LENGTH = 100


class OutageLog:
    """Logs one warning per outage of a client, however many audiences it waits for.

    An outage starts when several polls of one audience or list have failed in a row, and ends with the next good
    response. A response that says that a quota is used up is logged at once.
    """

    def __init__(self) -> None:
        self._level = 0
        self._warned_at: dict[int, float] = {}

    def record_failure(self, what: str, failures: int, error: IndigoError, *, waiting: int) -> None:
        """Record that a poll failed, as the last `failures` did, while there were waits for `waiting` audiences."""
        if isinstance(error, RateLimitedError) and _is_quota_error(error.error_type):
            level = _QUOTA_LEVEL
        elif _OUTAGE_FAILURES <= failures < 2 * _OUTAGE_FAILURES:
            level = _OUTAGE_LEVEL
        else:
            return
        now = asyncio.get_running_loop().time()
        if level <= self._level or now < self._warned_at.get(level, float("-inf")) + _WARNING_INTERVAL:
            return
        self._level, self._warned_at[level] = level, now
        _logger.warning(
            "%s; audiences waiting: %d. They keep waiting until their timeouts. Last error: %s",
            "the server refuses status checks because a quota or plan seems to be used up"
            if level == _QUOTA_LEVEL
            else f"the last {failures} status checks of {what} failed",
            waiting,
            sanitize_text(str(error)),
        )

    def record_recovery(self) -> None:
        """Record a good response, or that the last wait has ended."""
        self._level = 0


def _is_quota_error(error_type: str | None) -> bool:
    letters = re.sub("[^A-Z]", "", (error_type or "").upper())
    return _QUOTA_ERROR_TYPE.search(letters) is not None


class UnknownStatusLog:
    """Logs each status that this version of the SDK does not know, once."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def log_unknown(self, audience: Audience) -> None:
        """Log the unknown statuses of a record that were not logged before."""
        self._log_if_unknown("audience", audience.status, AudienceStatus)
        if audience.uploaded_audience_csv is not None:
            self._log_if_unknown("uploaded CSV", audience.uploaded_audience_csv.status, UploadStatus)
        for export in audience.csv_exports:
            self._log_if_unknown("export", export.status, ExportStatus)

    def _log_if_unknown(self, what: str, status: str, known: type[StrEnum]) -> None:
        if not status or status.upper() in known.__members__ or (what, status) in self._logged:
            return
        if len(self._logged) < _MAX_LOGGED_STATUSES:
            self._logged.add((what, status))
            _logger.warning(
                "the server sent the unknown %s status %.*r, which is treated as %s",
                what,
                _MAX_STATUS_LENGTH,
                sanitize_text(status),
                "a failure" if is_failure_status(status) else "in progress",
            )


def log_unexpected_error(what: str, error: Exception) -> IndigoError:
    """Log where a bug raised an exception, without its text, which may contain anything. Returns the waits' error."""
    kind = type(error).__name__
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("a status check of %s raised an unexpected %s, a bug in this SDK:\n%s", what, kind, frames)
    return IndigoError(
        f"the wait for {what} ended because a status check raised an unexpected {kind} (see the log): this is a bug in "
        "this SDK. The server continues its work"
    )
