"""What a batch did, on disk: the intent before each POST and the result after it, for later runs to go on from.

The journal holds IDs, names of audiences, paths, hashes and cents: no token, no signed URL, nobody's data.
"""

from indigo_async.workflows.journal.job_log import JournalJobLog
from indigo_async.workflows.journal.journal import Journal, JournalRecord
from indigo_async.workflows.journal.reader import is_in_use, read_records
from indigo_async.workflows.journal.rows import EntryKind, PurchaseTotals, sum_purchases

__all__ = [
    "EntryKind",
    "Journal",
    "JournalJobLog",
    "JournalRecord",
    "PurchaseTotals",
    "is_in_use",
    "read_records",
    "sum_purchases",
]
