"""Advice about errors for the command line, with options and manifest fields instead of Python names."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["advice_for", "use_option_names"]

_WORDS = (
    (r"\bpass publisher=.*?\(extra `publish`; on the command line, (--publish [^)]*)\)", r"use \1"),
    (r"\. For the sandbox, use publisher=indigo_async\.\S+", ""),
    (r"\buse a bucket, such as publisher=indigo_async\.\S+", "use --publish s3://bucket/lists"),
    (r"\bpass the same fence='(s3://bucket/prefix)'", r"pass the same --fence \1"),
    (r"\bpass purchase=False\b", "use --no-purchase"),
    (r"(?m)^shard(?=:)|^shard$", "--shard"),
    (r"(?m)^fence(?=:)|^fence$", "--fence"),
    (r"(?m)^(exports|health|metrics)(?=:)|^(exports|health|metrics)$", r"--\1\2"),
    (r"\bpass token=\.\.\. or profile=\.\.\., or set ", "use --profile, or set "),
    (r"\btoken=\.\.\., ", ""),
    (r"\bprofile=\.\.\.", "--profile"),
    (r"(?<![.'])\bbase_url\b(?![',])", "--base-url or INDIGO_BASE_URL"),
    (r"(?m)^proxy(?=:)", "--proxy"),
    (r"(?m)^store(?=:)|^store$", "--publish"),
    (r", or an obstore S3Store, GCSStore or AzureStore\b", ""),
    (r"\bbudget_cents(?=:)|^budget_cents$", "--budget-cents"),
    (
        r"\bcall workflows\.download_export\(\.\.\., export_id='?([^')\s]+)'?\)",
        r"run `indigo-async export` with --export-id \1",
    ),
    (r"\bworkflows\.download_export\(\.\.\., export_id='?([^')\s]+)'?\)", r"`indigo-async export` with --export-id \1"),
    (r"\bworkflows\.download_export\b", "`indigo-async export` with --export-id"),
    (r"\bworkflows\.wait_(until_active|for_column_selection|for_export)\b", "`indigo-async watch`"),
    (r"\bcall wait_until_active first\b", "wait for it with `indigo-async watch`"),
    (r"\bcall export_audience\b", "run `indigo-async export` without --export-id"),
    (r"\bPass export_id=\.\.\. to choose one\b", "Choose one with --export-id"),
    (r"\bpass continue_changed=True\b", "use --continue"),
    (r"(?m)^name(?=: a batch named )", "--name"),
    (r"\bchoose another name, which has\b", "choose another --name, which has"),
    (r"\b([Tt])he same call\b", r"\1he same command"),
    (r"\bTrue or False\b", "true or false"),
)
"""Python names in messages and their replacements. `base_url` in quotes or a list is the key of a profile."""

_FIELDS_AND_OPTIONS = (
    (r"\bpass max_cost_cents=(\d+)", r"set export.max_cost_cents to \1", r"use --max-cost-cents \1"),
    (r"\bpass allow_empty=True\b", "set export.allow_empty to true", "use --allow-empty"),
    (r"\bpass reuse_purchased=True\b", "set export.reuse_purchased to true", "use --reuse-purchased"),
    (r"\breuse_purchased=True\b", "export.reuse_purchased", "--reuse-purchased"),
    (r"\breuse_purchased=False\b", "export.reuse_purchased: false", "--buy-another"),
)
"""Python names in messages, and their replacements in a batch and in a command without a manifest."""

_OPTIONS = (
    (r"\b([Rr])un the batch again to download it\b", r"\1un `indigo-async export` with --export-id to download it"),
    (r"\b([Rr])un the batch again\b", r"\1un the same command again"),
    (r"\b([Rr])unning the batch again\b", r"\1unning the same command again"),
    (r"\bexport\.max_cost_cents or --budget-cents\b", "--max-cost-cents"),
    (r"\bset export\.allow_empty to true\b", "use --allow-empty"),
    (r"\bset export\.reuse_purchased to true\b", "use --reuse-purchased"),
    (r"\bgive the job (another|a new) audience_name\b", r"use \1 --name"),
    (r"\baudience_name\b", "--name"),
    (r"\b(the )?customer_id\b", "--customer"),
    (r"\bcolumn_selections\.", ""),
    (r"\bcolumn_selections\b", "columns"),
    (r"\boptional_field_types(\[\d+\])?", "--field"),
    (r"\bdestination(?=:)|^destination$", "--out"),
    (r"\bexport_id\b", "--export-id"),
    (r"\bmax_cost_cents\b", "--max-cost-cents"),
    (r"\bpoll_interval\b", "--poll-interval"),
    (r"\binclude_original_audience\b", "--include-original-audience"),
    (r"\bfilters\.states(\[\d+\])?", "--state"),
    (r"\bfilters\.counties(\[\d+\])?", "--county"),
    (r"\bfilters\.congressional_districts(\[\d+\])?", "--congressional-district"),
    (r"\bfilters\.upper_state_legislative_districts(\[\d+\])?", "--upper-district"),
    (r"\bfilters\.lower_state_legislative_districts(\[\d+\])?", "--lower-district"),
)
"""Manifest fields, and the matching options of commands without a manifest."""

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
    "AuthenticationError": "Check the token and its permissions, then run the batch again.",
    "BudgetExceededError": "This export was not purchased. Raise export.max_cost_cents or --budget-cents, or request "
    "fewer fields; then run the batch again, which purchases the same preview.",
    "CancelledError": "The job was canceled or dropped. If it should run after all, run the batch again: it checks "
    "first what was created and purchased.",
    "ConnectionFailedError": "The network or the server was down. Run the batch again to resume.",
    "CustomerMismatchError": "The server responded with another customer's data, which was not used. Check the "
    "customer_id; if it is right, contact Indigo's support. Running the batch again does not help.",
    "DownloadError": "The export is purchased and remains so. Check the disk and the destination; run the batch again "
    "to download it.",
    "EmptyAudienceError": "The audience is empty, so nothing was purchased. Check the CSV's columns and the "
    "lookalike's filters. To export it anyway, set export.allow_empty to true.",
    "ExportExistsError": "An export was or may have been purchased earlier. If it is the one you want, set "
    "export.reuse_purchased to true to download it. Nothing was purchased now.",
    "FenceError": "The fence can't be used, so nothing more is purchased. Check that this machine can read and write "
    "it, then run the batch again.",
    "FenceInUseError": "Another run has this job. Run the batch again when that run has ended.",
    "FenceLostError": "Another run took over these jobs, because this one was paused or cut off from the fence. Run "
    "the batch again if no other run has finished them.",
    "InvalidInputError": "Nothing was sent. Fix what the message names, then run the batch again.",
    "JournalDamagedError": "Restore the journal together with its .rows file. Without it, check on the server which "
    "exports were purchased before you run anything.",
    "JournalInUseError": "The journal is in use. Wait until that process has ended, then run the batch again.",
    "JournalMismatchError": "An earlier run did this job for another server, or with another CSV, columns or "
    "lookalike; the message says which. Undo that change. If a list is meant to be another one, give the job a new "
    "audience_name.",
    "JournalVersionError": "Use the version of indigo-async that wrote the journal.",
    "JournalWriteError": "Free up disk space, then run the batch again.",
    "MissingPackageError": "Install what the message names, then run the batch again.",
    "NotFoundError": "The audience or export no longer exists on the server, or belongs to another customer. Check "
    "the customer_id, the API's address and the token. Running the batch again does not help. If it is gone for good, "
    "ask Indigo before you recreate it under another name.",
    "PublishError": "Nothing was sent. Check the file and the place that --publish names, then run the batch again.",
    "PurchaseInDoubtError": "The export may or may not have been purchased. Run the batch again later: it checks the "
    "server before it purchases anything. If this persists, ask Indigo about this export.",
    "RateLimitedError": "The server was overloaded. Run the batch again later.",
    "RecordMismatchError": "The server's response was about another record, and was not used. Run the batch again; "
    "if this persists, report it to Indigo's support.",
    "RequestTimeoutError": "The server was slow. Run the batch again to resume.",
    "ResponseDecodeError": "The server's response could not be understood. Run the batch again; if this persists, "
    "report it.",
    "ServerError": "The server failed. Run the batch again; it checks first whether the work was done.",
    "TerminatedError": "The job's workflow was terminated. If it should run after all, run the batch again: it checks "
    "first what was created and purchased.",
    "WaitTimeoutError": "Work already requested continues on the server. Run the batch again to resume, or use a "
    "longer --timeout.",
}

_DEFAULT_ADVICE = "Run the batch again: finished work is kept, and nothing is purchased twice."


def advice_for(error_type: str, *, in_batch: bool = True) -> str:
    """What to do about an error, by the name of its class."""
    advice = _ADVICE.get(error_type, _DEFAULT_ADVICE)
    return advice if in_batch else _replace(advice, _OPTIONS)


def use_option_names(message: str, *, in_batch: bool = True) -> str:
    """Replace the Python names in a message with manifest fields in a batch, otherwise with options."""
    message = _replace(message, _WORDS)
    for pattern, field, option in _FIELDS_AND_OPTIONS:
        message = re.sub(pattern, field if in_batch else option, message)
    return message if in_batch else _replace(message, _OPTIONS)


def _replace(text: str, words: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in words:
        text = re.sub(pattern, replacement, text)
    return text
