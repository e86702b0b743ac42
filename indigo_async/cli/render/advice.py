"""What to do about a failure, by the kind of its error: what `run`, `quote` and `report` all say."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

__all__ = ["WarningGroup", "advice_for", "group_warnings"]

_IDS = re.compile(r"\b(audience|export) [^\s,;:(]+|\d[\d,]*")

_ADVICE = {
    "AlreadyPurchasedError": "Nothing is lost: the export is bought. Run the batch again to download it.",
    "AmbiguousOutcomeError": "The server's answer was lost. Run the batch again: it looks first whether the work was "
    "done, and buys nothing twice.",
    "ApiError": "The server refused the request; its own words say why. Running the batch again helps only once that "
    "is corrected.",
    "AudienceExistsError": "Another list has this name already. Look whether that is the one you want, or give the job "
    "another audience_name.",
    "AudienceFailedError": "The server could not process the list. Look at the CSV (its columns, its encoding, whether "
    "its URL still answers), then run the batch again. Where it is an audience of the job's name that failed, "
    "the job needs another audience_name.",
    "AuthenticationError": "Check the token (INDIGO_API_TOKEN) and what it may do; then run the batch again.",
    "BudgetExceededError": "This export was not bought. Raise export.max_cost_cents or --budget-cents, or ask for "
    "fewer fields; then run the batch again, which buys the same preview.",
    "ConnectionFailedError": "The network or the server was away. Run the batch again; it goes on where it was.",
    "CustomerMismatchError": "The server answered about another customer, and the answer was not used. "
    "Check the customer_id; if it is right, tell the API's support. Running the batch again cannot help.",
    "DownloadError": "The export is bought and stays so. Look at the disk and the destination; run the batch again to "
    "download it.",
    "EmptyAudienceError": "The audience holds nobody, so nothing was bought. Check the CSV's columns and the "
    "lookalike's filters. To export it anyway, set export.allow_empty to true.",
    "ExportExistsError": "An export was or may have been purchased earlier. If it is the one you want, set "
    "export.reuse_purchased to true to download it. Nothing was bought.",
    "InvalidInputError": "Nothing was sent. Correct what the message names, then run the batch again.",
    "JournalDamagedError": "Restore the journal together with its .rows file. Without it, check at the server which "
    "exports were purchased before you run anything.",
    "JournalMismatchError": "The job's CSV, columns or lookalike changed since an earlier run used them. "
    "Undo the change, or give the job a new audience_name.",
    "JournalWriteError": "Make room on the disk, then run the batch again.",
    "NotFoundError": "The audience or export is gone at the server, or belongs to another customer. Check the "
    "customer_id and the API's address. Running the batch again alone cannot help. If it is gone for good, ask the "
    "vendor before you make it again under another name.",
    "PurchaseInDoubtError": "The export may or may not have been purchased. Run the batch again later: it reads the "
    "server before it buys anything. If it stays in doubt, ask the vendor about this export.",
    "RateLimitedError": "The server had too much to do. Run the batch again later, or with a lower "
    "requests_per_second.",
    "RecordMismatchError": "The server's response was about another record, and was not used. Run the batch again; "
    "if it stays, report it to the API's support.",
    "RequestTimeoutError": "The server was slow. Run the batch again; it goes on where it was.",
    "ResponseDecodeError": "The server answered in an unknown form. Run the batch again; if it stays, report it.",
    "ServerError": "The server failed. Run the batch again; it looks first whether the work was done.",
    "WaitTimeoutError": "The server's work goes on. Run the batch again to pick it up, or with a longer job timeout.",
}

_OTHERWISE = "Run the batch again: what is done stays done, and nothing is bought twice."


def advice_for(error_type: str) -> str:
    """What to do next, in a sentence or two."""
    return _ADVICE.get(error_type, _OTHERWISE)


@attrs.frozen(kw_only=True)
class WarningGroup:
    """Jobs with the same kind of warning, which may differ in IDs and numbers. `key` and `message` are the first's."""

    jobs: int
    key: str
    message: str

    @property
    def text(self) -> str:
        others = f" and {self.jobs - 1:,} more" if self.jobs > 1 else ""
        return f"{self.key}{others}: {self.message}"


def group_warnings(warnings: Iterable[tuple[str, str]]) -> list[WarningGroup]:
    """Group warnings, given as keys of jobs and messages; the most frequent kind first."""
    groups: dict[str, WarningGroup] = {}
    for key, message in warnings:
        kind = _IDS.sub("*", message)
        known = groups.get(kind, WarningGroup(jobs=0, key=key, message=message))
        groups[kind] = attrs.evolve(known, jobs=known.jobs + 1)
    return sorted(groups.values(), key=lambda group: -group.jobs)
