"""The command `indigo-async` (extra `cli`)."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, and never end with a bare traceback."""
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
