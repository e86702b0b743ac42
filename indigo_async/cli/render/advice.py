"""Advice about failures, and warnings grouped by kind, for `run`, `quote` and `report`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

__all__ = ["WarningGroup", "advice_for", "group_warnings"]

_IDS = re.compile(r"\b(audience|export) [^\s,;:(]+|\d[\d,]*")

_ADVICE = {
    "AlreadyPurchasedError": "The export is purchased. Run the batch again to download it.",
    "AmbiguousOutcomeError": "The server's response was lost. Run the batch again: it checks first whether the work "
    "was done, and purchases nothing twice.",
    "ApiError": "The server rejected the request; its message says why. Running the batch again helps only after "
    "fixing that.",
    "AudienceExistsError": "Another list already has this name. Check whether it is the one you want, or give the job "
    "another audience_name.",
    "AudienceFailedError": "The server could not process the list. Check the CSV (its columns, its encoding, whether "
    "its URL still works), then run the batch again. If an audience with the job's name has failed, give the job "
    "another audience_name.",
    "AuthenticationError": "Check the token (INDIGO_API_TOKEN) and its permissions, then run the batch again.",
    "BudgetExceededError": "This export was not purchased. Raise export.max_cost_cents or --budget-cents, or request "
    "fewer fields; then run the batch again, which purchases the same preview.",
    "ConnectionFailedError": "The network or the server was down. Run the batch again to resume.",
    "CustomerMismatchError": "The server responded with another customer's data, which was not used. Check the "
    "customer_id; if it is right, contact the API's support. Running the batch again cannot help.",
    "DownloadError": "The export is purchased and remains so. Check the disk and the destination; run the batch again "
    "to download it.",
    "EmptyAudienceError": "The audience is empty, so nothing was purchased. Check the CSV's columns and the "
    "lookalike's filters. To export it anyway, set export.allow_empty to true.",
    "ExportExistsError": "An export was or may have been purchased earlier. If it is the one you want, set "
    "export.reuse_purchased to true to download it. Nothing was purchased now.",
    "InvalidInputError": "Nothing was sent. Fix what the message names, then run the batch again.",
    "JournalDamagedError": "Restore the journal together with its .rows file. Without it, check on the server which "
    "exports were purchased before you run anything.",
    "JournalMismatchError": "The job's CSV, columns or lookalike changed since an earlier run used them. "
    "Undo the change, or give the job a new audience_name.",
    "JournalWriteError": "Free up disk space, then run the batch again.",
    "NotFoundError": "The audience or export no longer exists on the server, or belongs to another customer. Check "
    "the customer_id and the API's address. Running the batch again cannot help by itself. If it is gone for good, "
    "ask the vendor before you recreate it under another name.",
    "PurchaseInDoubtError": "The export may or may not have been purchased. Run the batch again later: it checks the "
    "server before it purchases anything. If this persists, ask the vendor about this export.",
    "RateLimitedError": "The server was overloaded. Run the batch again later, or with a lower requests_per_second.",
    "RecordMismatchError": "The server's response was about another record, and was not used. Run the batch again; "
    "if this persists, report it to the API's support.",
    "RequestTimeoutError": "The server was slow. Run the batch again to resume.",
    "ResponseDecodeError": "The server's response could not be understood. Run the batch again; if this persists, "
    "report it.",
    "ServerError": "The server failed. Run the batch again; it checks first whether the work was done.",
    "WaitTimeoutError": "The server continues its work. Run the batch again to resume, or use a longer job timeout.",
}

_DEFAULT_ADVICE = "Run the batch again: finished work is kept, and nothing is purchased twice."


def advice_for(error_type: str) -> str:
    """What to do about an error, by the name of its class."""
    return _ADVICE.get(error_type, _DEFAULT_ADVICE)


@attrs.frozen(kw_only=True)
class WarningGroup:
    """Jobs with the same warning apart from IDs and numbers. `key` and `message` are the first job's."""

    jobs: int
    key: str
    message: str

    @property
    def text(self) -> str:
        others = f" and {self.jobs - 1:,} more" if self.jobs > 1 else ""
        return f"{self.key}{others}: {self.message}"


def group_warnings(warnings: Iterable[tuple[str, str]]) -> list[WarningGroup]:
    """Group pairs of job key and message by kind of warning, the most frequent first."""
    groups: dict[str, WarningGroup] = {}
    for key, message in warnings:
        kind = _IDS.sub("*", message)
        group = groups.get(kind, WarningGroup(jobs=0, key=key, message=message))
        groups[kind] = attrs.evolve(group, jobs=group.jobs + 1)
    return sorted(groups.values(), key=lambda group: -group.jobs)
