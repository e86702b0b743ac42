"""A log of requests and responses, for tests and benchmarks."""

from __future__ import annotations

from collections import Counter, deque

import attrs

from indigo_async.models import RecordId
from indigo_async.sandbox.faults import FaultKind

__all__ = ["LogEntry", "RequestLog"]


@attrs.frozen(kw_only=True)
class LogEntry:
    """One request. `at` is in sandbox seconds. `status` is None if no response was sent.

    `carried_out` says whether the endpoint did its work, whatever the response was. The IDs are those that the request
    named or created. `request_id` was sent as `X-Request-Id`. Tokens and URLs are not stored.
    """

    at: float
    method: str
    endpoint: str
    customer_id: str | None = None
    audience_id: RecordId | None = None
    export_id: RecordId | None = None
    status: int | None
    carried_out: bool
    fault: FaultKind | None = None
    request_id: str | None = None


_CountKey = tuple[str, int | None, bool, FaultKind | None]


@attrs.define(init=False)
class RequestLog:
    """Counts every request and keeps the latest `max_entries` entries."""

    entries: deque[LogEntry]
    _counts: Counter[_CountKey]

    def __init__(self, max_entries: int) -> None:
        self.entries = deque(maxlen=max_entries)
        self._counts = Counter()

    def add(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        self._counts[entry.endpoint, entry.status, entry.carried_out, entry.fault] += 1

    def count(
        self,
        endpoint: str | None = None,
        *,
        status: int | None = None,
        carried_out: bool | None = None,
        fault: FaultKind | None = None,
    ) -> int:
        """Count the requests that match all criteria."""
        wanted = (endpoint, status, carried_out, fault)
        return sum(
            count
            for kind, count in self._counts.items()
            if all(want is None or want == have for want, have in zip(wanted, kind, strict=True))
        )

    def find(
        self,
        *,
        endpoint: str | None = None,
        customer_id: str | None = None,
        audience_id: RecordId | None = None,
        export_id: RecordId | None = None,
    ) -> list[LogEntry]:
        """Return the stored entries that match all criteria, oldest first."""
        wanted = (endpoint, customer_id, audience_id, export_id)
        return [
            entry
            for entry in self.entries
            if all(
                want is None or want == have
                for want, have in zip(
                    wanted, (entry.endpoint, entry.customer_id, entry.audience_id, entry.export_id), strict=True
                )
            )
        ]

    def count_by_endpoint(self) -> dict[str, dict[str, int]]:
        """Count requests by endpoint and status (`none` if no response was sent)."""
        totals: dict[str, dict[str, int]] = {}
        for (endpoint, status, _, _), count in self._counts.items():
            statuses = totals.setdefault(endpoint, {})
            key = "none" if status is None else str(status)
            statuses[key] = statuses.get(key, 0) + count
        return totals

    def clear(self) -> None:
        self.entries.clear()
        self._counts.clear()
