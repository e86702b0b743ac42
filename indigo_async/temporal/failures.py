"""Errors of the SDK as failures of activities: which of them another attempt may cure, in words without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutType,
)
from temporalio.exceptions import TimeoutError as OutOfTimeError

from indigo_async._redaction import redact
from indigo_async.errors import (
    ApiError,
    BudgetExceededError,
    ClientNotOpenError,
    CustomerMismatchError,
    IndigoError,
    InvalidInputError,
    RateLimitedError,
    RecordMismatchError,
    ServerError,
    WorkflowError,
)
from indigo_async.temporal.payloads import Failure, JobInput

__all__ = ["build_failure", "to_application_error"]

_FINAL = (
    ApiError,
    BudgetExceededError,
    CustomerMismatchError,
    InvalidInputError,
    RecordMismatchError,
    WorkflowError,
)
"""What a second attempt meets again: refusals, and what the recipes' own rules decided."""

_TRANSIENT = (ClientNotOpenError, RateLimitedError, ServerError)


def to_application_error(error: Exception, *, retryable: bool = False) -> ApplicationError:
    """The failure that an activity raises in the error's place, whose history must not hold what it was caused by.

    `retryable` says that another attempt may cure even an error that stays as a rule.
    """
    passing = retryable or isinstance(error, _TRANSIENT) or not isinstance(error, _FINAL)
    asked = error.retry_after if isinstance(error, RateLimitedError) else None
    return ApplicationError(
        _safe_message(error),
        type=type(error).__name__,
        non_retryable=not passing,
        next_retry_delay=None if asked is None else timedelta(seconds=asked),
    )


def _safe_message(error: Exception) -> str:
    if isinstance(error, IndigoError):
        return redact(str(error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if isinstance(error.filename, str) else error.strerror
    return type(error).__name__  # errors that are not ours may hold anything


def build_failure(order: JobInput, workflow_id: str, error: BaseException) -> Failure:
    """How a job's workflow failed, from whatever wraps the error that a stage raised."""
    stage, kind, message = "", "WorkflowError", type(error).__name__
    for cause in _causes(error):
        match cause:
            case ActivityError():
                stage = cause.activity_type
            case ApplicationError():
                kind, message = cause.type or "WorkflowError", cause.message
            case OutOfTimeError(type=TimeoutType.SCHEDULE_TO_CLOSE):
                kind = "WaitTimeoutError"
                work = "the server's work goes on, and the same job finds it again"
                message = f"not done after {order.timeout_seconds:g} s; {work}"
                break
            case CancelledError():
                kind, message = "CancelledError", "cancelled; the server's work goes on"
            case TerminatedError():
                kind, message = "TerminatedError", "terminated by an operator; the server's work goes on"
            case _:
                pass
    return Failure(key=order.key, workflow_id=workflow_id, stage=stage, error_type=kind, message=message)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the outermost first."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__
