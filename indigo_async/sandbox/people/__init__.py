"""People for the sandbox: a voter file, matching, lookalikes, exports, and messy uploads to try them with.

All functions are synchronous and safe to call from several threads at once; call them in worker threads.
"""

from __future__ import annotations

from indigo_async.sandbox.people.exports import export_csv
from indigo_async.sandbox.people.lookalike import Lookalike, expand
from indigo_async.sandbox.people.matching import MatchResult, match
from indigo_async.sandbox.people.messy import MESSY_COLUMNS, MessyUpload, draw_people, messy_csv, messy_people
from indigo_async.sandbox.people.tables import CsvTable, NotACsvError, read_table
from indigo_async.sandbox.people.voters import VoterFile, known_values

__all__ = [
    "MESSY_COLUMNS",
    "CsvTable",
    "Lookalike",
    "MatchResult",
    "MessyUpload",
    "NotACsvError",
    "VoterFile",
    "draw_people",
    "expand",
    "export_csv",
    "known_values",
    "match",
    "messy_csv",
    "messy_people",
    "read_table",
]
