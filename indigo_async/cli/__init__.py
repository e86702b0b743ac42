"""The `indigo-async` command (extra `cli`)."""

from __future__ import annotations

import gc
import os
import signal
import sys

__all__ = ["GC_THRESHOLD", "main"]

GC_THRESHOLD = 10_000
"""Garbage collector threshold for the command's process, instead of Python's default (700).

With 10,000 jobs in memory, the default spends a third of all CPU time on full collections that find nothing. The
command owns its process, so it may change this; the library never does (see docs/guides/batches.md).
"""


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until a command handles signals, there is nothing to stop cleanly, so Ctrl-C ends the process silently.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(GC_THRESHOLD)
    from indigo_async.cli.streams import prepare_streams  # noqa: PLC0415 - Ctrl-C comes first

    prepare_streams()
    try:
        from indigo_async.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ImportError:
        _exit_if_extra_is_missing()
        raise
    code = run()
    if "temporalio" in sys.modules:
        # Skip interpreter shutdown, which temporalio's threads can crash (temporalio/sdk-python#300).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_if_extra_is_missing() -> None:
    from indigo_async._extras import require_extra  # noqa: PLC0415 - seldom needed
    from indigo_async.errors import MissingPackageError  # noqa: PLC0415 - as above

    try:
        require_extra("cli", "the command")
    except MissingPackageError as missing:
        sys.exit(f"indigo-async: {missing}")
