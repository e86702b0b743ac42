"""Says in the log, once for each, which statuses the server uses that this version does not know."""

from __future__ import annotations

import logging
from enum import StrEnum

from indigo_async.hidden import safe_text
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, means_failure

__all__ = ["UnknownStatuses"]

_logger = logging.getLogger("indigo_async")

# A server that invents statuses without end must not fill the memory, nor the log.
_MOST = 100
_LONGEST = 100


class UnknownStatuses:
    """Remembers which statuses were said to be unknown."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def note(self, audience: Audience) -> None:
        """Say which of a record's statuses are unknown, and were not yet said to be."""
        self._note("audience", audience.status, AudienceStatus)
        if audience.uploaded_audience_csv is not None:
            self._note("uploaded CSV", audience.uploaded_audience_csv.status, UploadStatus)
        for export in audience.csv_exports:
            self._note("export", export.status, ExportStatus)

    def _note(self, what: str, status: str, known: type[StrEnum]) -> None:
        if not status or status.upper() in known.__members__ or (what, status) in self._said:
            return
        if len(self._said) < _MOST:
            self._said.add((what, status))
            meaning = "a failure" if means_failure(status) else "work that goes on"
            _logger.warning(
                "the server uses the unknown %s status %.*r, taken to mean %s",
                what,
                _LONGEST,
                safe_text(status),
                meaning,
            )
