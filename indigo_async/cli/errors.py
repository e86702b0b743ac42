"""Errors as users see them: the message and the exit code of a failed command."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import attrs

from indigo_async._version import __version__
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.problems import format_problems
from indigo_async.errors import (
    AuthenticationError,
    BudgetExceededError,
    IndigoError,
    InvalidInputError,
    NotFoundError,
    Problem,
    WaitTimeoutError,
    WorkflowError,
)

__all__ = [
    "ErrorReport",
    "combine_exit_codes",
    "describe_error",
    "exit_code_for",
    "exit_code_for_type",
    "find_cause",
]

_EXIT_CODES: dict[type[BaseException], ExitCode] = {
    InvalidInputError: ExitCode.USAGE_ERROR,
    BudgetExceededError: ExitCode.OVER_LIMIT,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    AuthenticationError: ExitCode.UNAUTHENTICATED,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
    BrokenPipeError: ExitCode.BROKEN_PIPE,
}

_SPECIFIC_EXIT_CODES = {ExitCode.OVER_LIMIT, ExitCode.TIMED_OUT, ExitCode.UNAUTHENTICATED}
"""Exit codes that a batch uses if all of its failures have the same one."""


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code of a command that ended with this error."""
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


def exit_code_for_type(error_type: str) -> ExitCode:
    """The exit code for an error, by the name of its class."""
    return next((code for kind, code in _EXIT_CODES.items() if kind.__name__ == error_type), ExitCode.FAILED)


def combine_exit_codes(codes: Collection[ExitCode]) -> ExitCode:
    """The exit code of a batch whose failed jobs have these."""
    different = set(codes)
    if len(different) == 1 and different <= _SPECIFIC_EXIT_CODES:
        return different.pop()
    return ExitCode.FAILED if different else ExitCode.SUCCESS


def find_cause(error: BaseException) -> BaseException:
    """The first error in a (nested) exception group if all are of the same type; otherwise the error itself."""
    causes = _flatten_group(error)
    return causes[0] if len({type(cause) for cause in causes}) == 1 else error


def _flatten_group(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [cause for inner in group.exceptions for cause in _flatten_group(inner)]


@attrs.frozen(kw_only=True)
class ErrorReport:
    """An error as commands show it.

    `type` is the exception's class name, or `UsageError`, `Interrupted`, `BatchStopped`, `JobsFailed` or
    `ManifestIncomplete`. `message` says what happened, `advice` what to do. `request_id` is the failed request's.
    `problems` lists each problem with invalid input and its place. Unknown values are None. `text` is for people.
    """

    type: str
    message: str
    advice: str | None = None
    stage: str | None = None
    request_id: str | None = None
    customer_id: str | None = None
    audience_name: str | None = None
    audience_id: str | int | None = None
    problems: tuple[Mapping[str, object], ...] = ()
    text: str = attrs.field(
        default=attrs.Factory(
            lambda self: self.message if self.advice is None else f"{self.message}; {self.advice}", takes_self=True
        )
    )

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, always with the same keys."""
        return attrs.asdict(self, filter=attrs.filters.exclude("text"))


def describe_error(error: BaseException, *, in_batch: bool = False) -> ErrorReport:
    """What happened and what to do. `in_batch`: the command's input is a manifest."""
    if isinstance(error, IndigoError):
        return _describe_indigo_error(error, in_batch=in_batch)
    kind, advice = type(error).__name__, None
    match error:
        case KeyboardInterrupt():
            kind, message = "Interrupted", "interrupted. Work already requested continues on the server"
            advice = "run the same command to resume"
        case ImportError():
            message = f"{_missing_package(error)} is not installed"
            advice = "pip install 'indigo-async[all]'"
        case OSError(strerror=str() as reason):
            message = reason if error.filename is None else f"{error.filename}: {reason}"
        case _:
            message = f"this is a bug in indigo-async {__version__} ({kind})"
            advice = "please report it with the output of the same command with --debug, which hides the token"
    return ErrorReport(type=kind, message=message, advice=advice)


def _describe_indigo_error(error: IndigoError, *, in_batch: bool) -> ErrorReport:
    """Describe an error of the SDK. Its text omits the advice, because the message already contains advice."""
    kind, message = type(error).__name__, use_option_names(str(error), in_batch=in_batch)
    problems: tuple[Mapping[str, object], ...] = ()
    text = message
    if isinstance(error, NotFoundError) and not in_batch:
        text = f"{message}; check the ID, --customer and the token"
    if isinstance(error, InvalidInputError):
        problems = tuple(_describe_problem(problem, in_batch=in_batch) for problem in error.problems)
        if len(problems) > 1:
            lines = [f"{len(problems)} problems:", *format_problems(error.problems)]
            text = use_option_names("\n".join(lines), in_batch=in_batch)
    return ErrorReport(
        type=kind,
        message=message,
        advice=advice_for(kind, in_batch=in_batch),
        problems=problems,
        text=text,
        request_id=error.request_id,
        **_locate(error),
    )


def _describe_problem(problem: Problem, *, in_batch: bool) -> Mapping[str, object]:
    return {
        name: use_option_names(value, in_batch=in_batch) if isinstance(value, str) else value
        for name, value in attrs.asdict(problem).items()
    }


def _locate(error: IndigoError) -> dict[str, Any]:
    """The stage and the audience of an error, if known."""
    if not isinstance(error, WorkflowError):
        return {}
    audience = error.audience
    stage = {"stage": str(error.stage)}
    if audience is None:
        return stage
    return stage | {"customer_id": audience.customer_id, "audience_name": audience.name, "audience_id": audience.id}


def _missing_package(error: ImportError) -> str:
    cause = error.__cause__
    return (cause.name if isinstance(cause, ImportError) else error.name) or "a library"
