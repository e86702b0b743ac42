"""Faults on demand: what goes wrong, and when. `indigo_async.sandbox.http.responses` puts them on the wire."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Any

import attrs

from indigo_async.models import RecordId

__all__ = ["Fault", "FaultKind", "Faults", "RequestTarget"]

_MAX_DELAY = 60.0


class FaultKind(StrEnum):
    """What goes wrong. `BEFORE` means before the request is carried out, `AFTER` after it."""

    DISCONNECT_BEFORE = "disconnect before"
    """The connection breaks, and the request isn't carried out."""
    DISCONNECT_AFTER = "disconnect after"
    """The request is carried out, then the connection breaks without a response."""
    ERROR_BEFORE = "error before"
    """An error with `status`. The request isn't carried out."""
    ERROR_AFTER = "error after"
    """An error with `status`, although the request was carried out."""
    RATE_LIMITED = "rate limited"
    """429 with `Retry-After`: `retry_after` seconds, as a number or as a date."""
    DELAY_BEFORE = "delay before"
    """The request is carried out after `delay` real seconds."""
    DELAY_AFTER = "delay after"
    """The request is carried out, then the response is delayed by `delay` real seconds."""
    HTML_BEFORE = "html before"
    """Status 200 with an HTML page. The request isn't carried out."""
    HTML_AFTER = "html after"
    """Status 200 with an HTML page, although the request was carried out."""
    TRUNCATED_BODY = "truncated body"
    """The request is carried out, then the connection breaks in the middle of the response or download."""
    UNKNOWN_STATUS = "unknown status"
    """Every `status` in the response's rows is undocumented."""
    STAGE_FAILS = "stage fails"
    """The upload, match, lookalike or export that the request starts will fail."""
    ROW_MISSING = "row missing"
    """The list lacks the rows that the fault names, or all rows."""
    FIELD_MISSING = "field missing"
    """`field` is missing from the rows that the fault names, or from all rows."""
    CLOSED_AFTER_RESPONSE = "closed after response"
    """The connection closes after the response, without announcing it."""
    STALE_CONNECTION = "stale connection"
    """A good response, then the connection breaks when the next request arrives on it."""
    RANGE_IGNORED = "range ignored"
    """A download ignores the requested range and returns 200 with the whole file."""
    RANGE_SHIFTED = "range shifted"
    """A download returns a range that starts one byte too late, and says so."""
    ETAG_CHANGED = "etag changed"
    """A download has a different ETag once, as if the file had changed."""
    CONTENT_LENGTH_WRONG = "content length wrong"
    """A download announces more bytes than it sends, then ends cleanly."""
    RANGE_SHORT = "range short"
    """A download returns half of the requested range, correctly labeled, as HTTP allows."""
    DOWNLOAD_NOT_READY = "download not ready"
    """A download returns 202 without a body, as if the file weren't ready."""
    INVALID_CONTENT_ENCODING = "invalid content encoding"
    """A download has the invalid header `Content-Encoding: UTF-8` and a plain body."""
    FIELD_REPLACED = "field replaced"
    """`field` of the rows that the fault names is `value`. `csvExports.cost` is the cost of each export."""
    PRICE_RAISED = "price raised"
    """A purchase isn't carried out, and the export costs `cost_cents` from now on.

    The response is an error with `status`. With `disconnect`, the connection breaks instead.
    """
    OVERCHARGED = "overcharged"
    """A purchase is carried out and charged at `cost_cents`, which its record then shows."""
    ERROR_INSIDE_SUCCESS = "error inside success"
    """Status 200 with the current record and an `error`. The request isn't carried out."""
    WRONG_RECORD = "wrong record"
    """The request is carried out, but the response is about another audience or export."""


@attrs.frozen(kw_only=True)
class RequestTarget:
    """What a request is about, as far as it is known before it is carried out."""

    endpoint: str
    customer_id: str | None = None
    audience_id: RecordId | None = None
    audience_name: str | None = None


@attrs.frozen(kw_only=True)
class Fault:
    """One planned fault.

    It matches requests to `endpoint` (such as `POST /purchase_csv_export` or `GET download`; None matches all) with the
    given `customer_id`, `audience_id` and `audience_name`. It skips the first `skip_first` of them, then strikes each
    one with `probability`, at most `times` times (None: without limit).

    For `ROW_MISSING`, `FIELD_MISSING` and `FIELD_REPLACED`, `audience_id` and `audience_name` select the rows instead.
    `error_type` and `message` replace those of an error response. `retry_after` may be any text.
    """

    kind: FaultKind
    endpoint: str | None = None
    times: int | None = 1
    skip_first: int = 0
    probability: float = 1.0
    customer_id: str | None = None
    audience_id: RecordId | None = None
    audience_name: str | None = None
    status: int = attrs.field(default=503, validator=[attrs.validators.ge(400), attrs.validators.lt(600)])
    disconnect: bool = False
    retry_after: int | str = 1
    retry_after_as_date: bool = False
    delay: float = attrs.field(default=0.1, validator=[attrs.validators.ge(0), attrs.validators.le(_MAX_DELAY)])
    field: str = "status"
    value: Any = None
    cost_cents: int = 900_000
    error_type: str | None = None
    message: str | None = None

    @property
    def edits_rows(self) -> bool:
        return self.kind in {FaultKind.ROW_MISSING, FaultKind.FIELD_MISSING, FaultKind.FIELD_REPLACED}

    def matches(self, target: RequestTarget) -> bool:
        """Return whether the fault applies to a request."""
        if self.endpoint not in (None, target.endpoint) or self.customer_id not in (None, target.customer_id):
            return False
        return self.edits_rows or self.matches_audience(target.audience_id, target.audience_name)

    def matches_audience(self, audience_id: RecordId | None, audience_name: str | None) -> bool:
        """Return whether the fault names this audience, or none."""
        return (self.audience_id is None or str(self.audience_id) == str(audience_id)) and (
            self.audience_name is None or self.audience_name == audience_name
        )


@attrs.define
class _PlannedFault:
    fault: Fault
    matched: int = 0
    triggered: int = 0

    @property
    def is_exhausted(self) -> bool:
        return self.fault.times is not None and self.triggered >= self.fault.times


class Faults:
    """The planned faults. Probabilities use a random generator seeded with `seed`."""

    def __init__(self, seed: int) -> None:
        self._planned: list[_PlannedFault] = []
        self._random = random.Random(seed)  # noqa: S311 - a repeatable draw, not a secret

    def add(self, *faults: Fault) -> None:
        self._planned.extend(_PlannedFault(fault) for fault in faults)

    def clear(self) -> None:
        self._planned.clear()

    def __bool__(self) -> bool:
        return bool(self._planned)

    def trigger(self, target: RequestTarget) -> Fault | None:
        """Return the fault that strikes this request, if any: the first planned one that applies."""
        for planned in self._planned:
            if not planned.fault.matches(target):
                continue
            planned.matched += 1
            if planned.matched <= planned.fault.skip_first or self._random.random() >= planned.fault.probability:
                continue
            planned.triggered += 1
            if planned.is_exhausted:
                self._planned.remove(planned)
            return planned.fault
        return None
