"""The command `indigo-async` (extra `cli`)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, and never end with a bare traceback."""
    try:
        from indigo_async.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        sys.exit(f"indigo-async: {error.name} is not installed; pip install 'indigo-async[cli,sandbox]'")
    sys.exit(run())
