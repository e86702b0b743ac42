"""What the API returns, as frozen records.

Only the documented fields can be relied on: `id`, `status`, `uploaded_audience_csv`, `csv_exports`, `download_url` and
`cost_cents`. Any other may be missing. JSON keys that are not modeled are kept verbatim in `extra`. Known statuses
get the enum's spelling, so `"in progress"` becomes `IN_PROGRESS`. Expect other statuses, which stay as the server sent
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import attrs

from indigo_async._text import format_dollars

__all__ = [
    "KNOWN_STATUSES",
    "ApiResponse",
    "Audience",
    "AudienceStatus",
    "CsvExport",
    "ExportStatus",
    "RecordId",
    "UploadStatus",
    "UploadedAudienceCsv",
    "is_failure_status",
    "normalize_status",
    "same_id",
]

RecordId: TypeAlias = str | int
"""An ID exactly as the server sent it. It is sent back unchanged."""


@attrs.frozen(kw_only=True)
class ApiResponse:
    """The response of `client.request`: its status, its headers, and its JSON as the server sent it.

    Names of headers are case-insensitive. `json` is None for an empty body. The headers and the JSON may hold people's
    data and signed URLs, so the repr shows neither.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    json: Any = attrs.field(repr=False)


class AudienceStatus(StrEnum):
    """Known values of `Audience.status`; the server may send others."""

    PROCESSING = "PROCESSING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class UploadStatus(StrEnum):
    """Known values of `UploadedAudienceCsv.status`; the server may send others."""

    PROCESSING = "PROCESSING"
    READY_FOR_COLUMN_SELECTION = "READY_FOR_COLUMN_SELECTION"
    FAILED = "FAILED"


class ExportStatus(StrEnum):
    """Known values of `CsvExport.status`; the server may send others."""

    IN_PROGRESS = "IN_PROGRESS"
    REQUIRES_PAYMENT = "REQUIRES_PAYMENT"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


_SEPARATORS = re.compile(r"[\s_-]+")
KNOWN_STATUSES = {str(status): str(status) for kind in (AudienceStatus, UploadStatus, ExportStatus) for status in kind}
"""All known statuses, each by its own name."""
_FOLDED_STATUSES = {_SEPARATORS.sub("", status): status for status in KNOWN_STATUSES}
_MAX_STATUS_LENGTH = 100


def normalize_status(status: str) -> str:
    """Return a known status in the enum's spelling, whatever its case, spaces, dashes or underscores."""
    return KNOWN_STATUSES.get(status) or _fold_status(status)


def _fold_status(status: str) -> str:
    if len(status) > _MAX_STATUS_LENGTH:
        return status
    return _FOLDED_STATUSES.get(_SEPARATORS.sub("", status).upper(), status)


_FAILURE = re.compile("FAIL|ERROR|REJECT|CANCEL|EXPIRE|DELETE")


def is_failure_status(status: str) -> bool:
    """Whether a status says failure, such as `MATCH_FAILED`. Other unknown statuses count as work in progress."""
    return _FAILURE.search(status.upper()) is not None


def same_id(first: RecordId, second: RecordId) -> bool:
    """Compare two IDs as text: a server may send 7 in one response and "7" in another."""
    return str(first) == str(second)


def _url_repr(url: str | None) -> str:
    return "None" if url is None else "<hidden URL>"


def _extra_repr(extra: Mapping[str, Any]) -> str:
    return f"<keys: {', '.join(sorted(extra))}>" if extra else "{}"


_EMPTY_EXTRA: Mapping[str, Any] = {}
_TINY_SHARE = 0.001


@attrs.frozen(kw_only=True)
class UploadedAudienceCsv:
    """The CSV that an audience was matched from. `url` may be signed, so its repr is hidden.

    `row_count` is how many rows it has, and `matched_count` how many of them were matched, if the server shows them.
    """

    status: str = ""
    url: str | None = attrs.field(default=None, repr=_url_repr)
    row_count: int | None = None
    matched_count: int | None = None
    extra: Mapping[str, Any] = attrs.field(default=_EMPTY_EXTRA, repr=_extra_repr)


@attrs.frozen(kw_only=True)
class CsvExport:
    """An export of an audience: a priced preview until it is purchased, then a CSV at `download_url`.

    `cost_cents` is in whole US cents. It is None if the server shows no price, or amounts that contradict each other or
    may be dollars. `cost_breakdown` is the server's own JSON. `optional_field_types` is None if the server doesn't say
    which paid fields the export has.
    """

    id: RecordId
    status: str = ""
    cost_cents: int | None = None
    cost_breakdown: Any = None
    optional_field_types: tuple[str, ...] | None = None
    download_url: str | None = attrs.field(default=None, repr=_url_repr)
    audience: Audience | None = None
    extra: Mapping[str, Any] = attrs.field(default=_EMPTY_EXTRA, repr=_extra_repr)

    def display_fields(self) -> dict[str, object]:
        """Return what to show of the export, by heading, without its URL: anyone who has it can download the people."""
        fields = self.optional_field_types
        return {
            "id": self.id,
            "status": self.status,
            "cost": format_dollars(self.cost_cents) if self.cost_cents is not None else None,
            "fields": ", ".join(fields) if fields is not None else None,
            "can be downloaded": "yes" if self.download_url is not None else "no",
        }

    def _repr_html_(self) -> str:
        from indigo_async.notebook import fields_html  # noqa: PLC0415 - only notebooks need HTML

        return fields_html("Export", self.display_fields())


@attrs.frozen(kw_only=True)
class Audience:
    """A list of voters: matched from a CSV, or a lookalike of another audience.

    `status` is `ACTIVE` when the audience is ready. `base_audience_id` is the audience that a lookalike was made from,
    `size` the number of people, and `matched_count` how many rows of the CSV were matched, if the server shows them.
    Counts that contradict each other are None.
    """

    id: RecordId
    name: str | None = None
    status: str = ""
    customer_id: str | None = None
    base_audience_id: RecordId | None = None
    size: int | None = None
    matched_count: int | None = None
    uploaded_audience_csv: UploadedAudienceCsv | None = None
    csv_exports: tuple[CsvExport, ...] = ()
    extra: Mapping[str, Any] = attrs.field(default=_EMPTY_EXTRA, repr=_extra_repr)

    @property
    def people_count(self) -> int | None:
        """How many people the audience has: `size`, or `matched_count` if the server shows only that."""
        return self.matched_count if self.size is None else self.size

    @property
    def match_rate(self) -> float | None:
        """The share of the CSV's rows that were matched, from 0 to 1. None if the server doesn't show both counts."""
        rows = self.uploaded_audience_csv.row_count if self.uploaded_audience_csv is not None else None
        if not rows or self.matched_count is None or self.matched_count > rows:
            return None
        return self.matched_count / rows

    def describe_match(self) -> str | None:
        """Describe the match, such as `950 of 1,200 rows (79.2%)`. None if the server shows no count."""
        if self.matched_count is None:
            return None
        rate, csv = self.match_rate, self.uploaded_audience_csv
        if rate is None or csv is None:
            return f"{self.matched_count:,} rows"
        share = f"{rate:.2%}" if 0 < rate < _TINY_SHARE else f"{rate:.1%}"
        return f"{self.matched_count:,} of {csv.row_count:,} rows ({share})"

    def display_fields(self) -> dict[str, object]:
        """Return what to show of the audience, by heading."""
        csv = self.uploaded_audience_csv
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "customer": self.customer_id,
            "base audience": self.base_audience_id,
            "CSV": csv.status if csv is not None else None,
            "people": f"{self.size:,}" if self.size is not None else None,
            "matched": self.describe_match(),
            "exports": len(self.csv_exports) or None,
        }

    def _repr_html_(self) -> str:
        from indigo_async.notebook import fields_html, rows_html  # noqa: PLC0415 - only notebooks need HTML

        html = fields_html("Audience", self.display_fields())
        exports = [export.display_fields() for export in self.csv_exports]
        return html + rows_html(exports) if exports else html
