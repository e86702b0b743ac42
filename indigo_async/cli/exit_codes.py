"""The exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_CODES_HELP", "ExitCode"]


class ExitCode(IntEnum):
    """The exit codes of all commands. Codes above 128 mean "ended by a signal", as in a shell."""

    SUCCESS = 0
    FAILED = 1
    USAGE_ERROR = 2
    OVER_LIMIT = 3
    TIMED_OUT = 4
    UNAUTHENTICATED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES_HELP = (
    "Exit codes: 0 success; 1 failed; 2 invalid usage, nothing was sent; 3 over a price limit or budget, nothing above "
    "it was purchased; 4 not finished within --timeout; 5 the token was rejected; "
    "130 stopped by Ctrl-C, SIGTERM or a closed terminal; 141 the output pipe was closed."
)
