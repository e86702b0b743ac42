"""How a command ends, as scripts see it."""

from __future__ import annotations

from enum import IntEnum

from indigo_async.errors import AuthenticationError, BudgetExceededError, InvalidInputError, WaitTimeoutError

__all__ = ["EXIT_CODES_HELP", "ExitCode", "exit_code_for"]


class ExitCode(IntEnum):
    """The exit codes of every command. The first three are what shells expect; 128 and above are signals."""

    SUCCESS = 0
    FAILED = 1
    USAGE_ERROR = 2
    OVER_LIMIT = 3
    TIMED_OUT = 4
    UNAUTHENTICATED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES_HELP = (
    "Exit codes: 0 done; 1 failed; 2 misused, nothing was sent; 3 over the price limit or budget, and what was over it "
    "was not bought; 4 not done within --timeout; 5 the token was refused; 130 interrupted; 141 the reader of the "
    "output went away."
)
"""The same in words, for the help."""


_BY_ERROR: dict[type[BaseException], ExitCode] = {
    InvalidInputError: ExitCode.USAGE_ERROR,
    BudgetExceededError: ExitCode.OVER_LIMIT,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    AuthenticationError: ExitCode.UNAUTHENTICATED,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
    BrokenPipeError: ExitCode.BROKEN_PIPE,
}


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code that tells a script what kind of error ended a command."""
    return next((code for kind, code in _BY_ERROR.items() if isinstance(error, kind)), ExitCode.FAILED)
