"""How a command ends, as scripts see it."""

from __future__ import annotations

from enum import IntEnum

from indigo_async.errors import AuthenticationError, BudgetExceededError, InvalidInputError, WaitTimeoutError

__all__ = ["EXIT_CODES", "Exit", "exit_of"]


class Exit(IntEnum):
    """The exit codes of every command. The first three are what shells expect; 128 and above are signals."""

    DONE = 0
    FAILED = 1
    MISUSED = 2
    OVER_LIMIT = 3
    TIMED_OUT = 4
    UNAUTHENTICATED = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


EXIT_CODES = (
    "Exit codes: 0 done; 1 failed; 2 misused, nothing was sent; 3 over the price limit or budget, and what was over it "
    "was not bought; 4 not done within --timeout; 5 the token was refused; 130 interrupted; 141 the reader of the "
    "output went away."
)
"""The same in words, for the help."""


_BY_ERROR: dict[type[BaseException], Exit] = {
    InvalidInputError: Exit.MISUSED,
    BudgetExceededError: Exit.OVER_LIMIT,
    WaitTimeoutError: Exit.TIMED_OUT,
    AuthenticationError: Exit.UNAUTHENTICATED,
    KeyboardInterrupt: Exit.INTERRUPTED,
    BrokenPipeError: Exit.PIPE_CLOSED,
}


def exit_of(error: BaseException) -> Exit:
    """The exit code that tells a script what kind of error ended a command."""
    return next((code for kind, code in _BY_ERROR.items() if isinstance(error, kind)), Exit.FAILED)
