"""Private: what a batch did, on disk. The intent before each POST and its result, for later runs to continue from.

The journal holds IDs, names of audiences, paths, hashes and cents: no token, no signed URL, no personal data.
"""

from indigo_async.workflows.journal.files import SUFFIXES, is_in_use
from indigo_async.workflows.journal.job_log import JournalJobLog
from indigo_async.workflows.journal.journal import Journal, read_records
from indigo_async.workflows.journal.rows import EntryKind, JournalRecord

__all__ = [
    "SUFFIXES",
    "EntryKind",
    "Journal",
    "JournalJobLog",
    "JournalRecord",
    "is_in_use",
    "read_records",
]
