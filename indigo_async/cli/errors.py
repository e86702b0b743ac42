"""Errors as users see them: the message and the exit code of a failed command."""

from __future__ import annotations

from enum import IntEnum
from importlib import metadata
from typing import cast

from indigo_async.cli.render.output import use_option_names
from indigo_async.errors import (
    AuthenticationError,
    BudgetExceededError,
    IndigoError,
    InvalidInputError,
    WaitTimeoutError,
)

__all__ = ["EXIT_CODES_HELP", "ExitCode", "describe_error", "exit_code_for", "find_cause"]


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
    "Exit codes: 0 success; 1 failed; 2 invalid usage, nothing was sent; 3 over the price limit or budget, and "
    "whatever was over it was not purchased; 4 not finished within --timeout; 5 the token was rejected; "
    "130 interrupted; 141 the output pipe was closed."
)

_EXIT_CODES: dict[type[BaseException], ExitCode] = {
    InvalidInputError: ExitCode.USAGE_ERROR,
    BudgetExceededError: ExitCode.OVER_LIMIT,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    AuthenticationError: ExitCode.UNAUTHENTICATED,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
    BrokenPipeError: ExitCode.BROKEN_PIPE,
}


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code of a command that ended with this error."""
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


def find_cause(error: BaseException) -> BaseException:
    """The first error in a (nested) exception group if all are of the same type; otherwise the error itself."""
    causes = _flatten_group(error)
    return causes[0] if len({type(cause) for cause in causes}) == 1 else error


def _flatten_group(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [cause for inner in group.exceptions for cause in _flatten_group(inner)]


def describe_error(error: BaseException) -> str:
    """The message to show: what happened and what to do."""
    match error:
        case KeyboardInterrupt():
            return "interrupted. Work already requested continues on the server; run the same command to resume"
        case IndigoError():
            return use_option_names(str(error))
        case ImportError():
            return f"{_missing_package(error)} is not installed; pip install 'indigo-async[all]'"
        case OSError(strerror=str() as reason):
            return reason if error.filename is None else f"{error.filename}: {reason}"
        case _:
            version = metadata.version("indigo-async")
            return (
                f"this is a bug in indigo-async {version} ({type(error).__name__}). Please report it with the output "
                "of the same command with --debug, which hides the token."
            )


def _missing_package(error: ImportError) -> str:
    cause = error.__cause__
    return (cause.name if isinstance(cause, ImportError) else error.name) or "a library"
