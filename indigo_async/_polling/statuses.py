"""Says in the log, once for each, which statuses the server uses that this version does not know."""

from __future__ import annotations

import logging
from enum import StrEnum

from indigo_async._redaction import sanitize_text
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, is_failure_status

__all__ = ["UnknownStatusLog"]

_logger = logging.getLogger("indigo_async")

# A server that invents statuses without end must not fill the memory, nor the log.
_MAX_LOGGED = 100
_MAX_STATUS_LENGTH = 100


class UnknownStatusLog:
    """Remembers which statuses were said to be unknown."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def log_unknown(self, audience: Audience) -> None:
        """Say which of a record's statuses are unknown, and were not yet said to be."""
        self._log_if_unknown("audience", audience.status, AudienceStatus)
        if audience.uploaded_audience_csv is not None:
            self._log_if_unknown("uploaded CSV", audience.uploaded_audience_csv.status, UploadStatus)
        for export in audience.csv_exports:
            self._log_if_unknown("export", export.status, ExportStatus)

    def _log_if_unknown(self, what: str, status: str, known: type[StrEnum]) -> None:
        if not status or status.upper() in known.__members__ or (what, status) in self._logged:
            return
        if len(self._logged) < _MAX_LOGGED:
            self._logged.add((what, status))
            meaning = "a failure" if is_failure_status(status) else "work that goes on"
            _logger.warning(
                "the server uses the unknown %s status %.*r, taken to mean %s",
                what,
                _MAX_STATUS_LENGTH,
                sanitize_text(status),
                meaning,
            )
