"""Make the process's standard streams safe to write to, before anything else is imported."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import cast

__all__ = ["MIN_WIDTH", "prepare_streams"]

MIN_WIDTH = 20
"""The minimum width for layout, because tables and help texts need some columns."""


class _LossyStream(io.TextIOWrapper):
    """A text stream that drops what it can't write, so a full log file or a closed terminal never stops a batch."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    r"""Make stdin, stdout and stderr usable, whatever they are connected to.

    - Closed ones are opened on the null device. Otherwise the next file or socket would reuse their descriptors.
    - Characters that the encoding lacks are written as escapes, such as `\xe9`.
    - Writing waits for a slow reader, even if another program made the pipe non-blocking.
    - Errors on stderr are ignored; errors on stdout are raised.
    - A width too small for any text (`COLUMNS`) counts as unknown.
    """
    _open_closed_streams()
    for descriptor in (1, 2):
        with suppress(OSError):
            os.set_blocking(descriptor, True)
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    binary = os.fdopen(2, "wb", closefd=False)
    sys.stderr = _LossyStream(binary, sys.stderr.encoding, "backslashreplace", line_buffering=True)
    columns = os.environ.get("COLUMNS", "")
    if not (columns.isascii() and columns.isdigit() and int(columns) >= MIN_WIDTH):
        os.environ.pop("COLUMNS", None)


def _open_closed_streams() -> None:
    """Open closed streams on the null device. Python represents them by None."""
    for descriptor, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            setattr(sys, name, os.fdopen(descriptor, mode))
