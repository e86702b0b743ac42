"""People for the sandbox: a voter file, matching, lookalikes, exports, and messy uploads to test them.

All functions are synchronous and thread-safe. Call them in worker threads.
"""

from __future__ import annotations

from indigo_async._extras import require_extra

try:
    from indigo_async.sandbox.people.csv_table import CsvTable, NotACsvError, parse_csv
    from indigo_async.sandbox.people.exports import export_csv
    from indigo_async.sandbox.people.lookalike import LookalikeResult, build_lookalike
    from indigo_async.sandbox.people.matching import MatchResult, match
    from indigo_async.sandbox.people.messy_uploads import (
        MESSY_COLUMNS,
        MessyUpload,
        generate_messy_csv,
        generate_messy_upload,
        sample_voters,
    )
    from indigo_async.sandbox.people.voters import VoterFile, list_filter_values
except ImportError:
    require_extra("sandbox", "indigo_async.sandbox.people")
    raise

__all__ = [
    "MESSY_COLUMNS",
    "CsvTable",
    "LookalikeResult",
    "MatchResult",
    "MessyUpload",
    "NotACsvError",
    "VoterFile",
    "build_lookalike",
    "export_csv",
    "generate_messy_csv",
    "generate_messy_upload",
    "list_filter_values",
    "match",
    "parse_csv",
    "sample_voters",
]
