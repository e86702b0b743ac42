"""The command `indigo-async` (extra `cli`)."""

from __future__ import annotations

import gc
import os
import sys

__all__ = ["GC_THRESHOLD", "main"]

GC_THRESHOLD = 10_000
"""So many objects are made, beyond those let go, before Python looks for reference cycles among them.

Its own number, 700, is some eight requests. Beside 10,000 jobs each look through the whole memory then takes half a
second, and one came every few seconds: a third of all CPU, for cycles that jobs do not leave. The command owns its
process, so it may set this; the library leaves it to whoever does (docs/services.md).
"""


def main() -> None:
    """Run the command line, and never end with a bare traceback."""
    gc.set_threshold(GC_THRESHOLD)
    try:
        from indigo_async.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        sys.exit(f"indigo-async: {error.name} is not installed; pip install 'indigo-async[cli,sandbox]'")
    code = run()
    if "temporalio" in sys.modules:
        # Its threads may call into an interpreter that is being taken down: temporalio/sdk-python, issue 300.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
