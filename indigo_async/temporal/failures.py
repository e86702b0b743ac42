"""Convert SDK errors to activity failures: without secrets, and marked as retryable or not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    RetryState,
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

__all__ = [
    "CANCELED",
    "CANCELED_MESSAGE",
    "TERMINATED",
    "TERMINATED_MESSAGE",
    "build_failure",
    "create_handover",
    "describe_timeout",
    "find_last_stage",
    "to_application_error",
]

_FINAL = (
    ApiError,
    BudgetExceededError,
    CustomerMismatchError,
    InvalidInputError,
    RecordMismatchError,
    WorkflowError,
)
"""Errors that a second attempt would meet again: API errors, and decisions of the recipes."""

_TRANSIENT = (ClientNotOpenError, RateLimitedError, ServerError)

CANCELED = "CancelledError"
"""The error type of jobs that were dropped or canceled."""
CANCELED_MESSAGE = "canceled; the server continues"

TERMINATED = "TerminatedError"
"""The error type of jobs whose workflow, or whose shard's, was terminated."""
TERMINATED_MESSAGE = "terminated by an operator; the server continues"


def to_application_error(error: Exception, *, retryable: bool = False) -> ApplicationError:
    """Convert an error to the failure that an activity raises instead, so that its causes don't enter the history.

    `retryable` allows another attempt even for an error that is usually final.
    """
    is_retryable = retryable or isinstance(error, _TRANSIENT) or not isinstance(error, _FINAL)
    retry_after = error.retry_after if isinstance(error, RateLimitedError) else None
    return ApplicationError(
        _safe_message(error),
        type=type(error).__name__,
        non_retryable=not is_retryable,
        next_retry_delay=None if retry_after is None else timedelta(seconds=retry_after),
    )


def create_handover(message: str, *, delay: timedelta) -> ApplicationError:
    """Create the failure with which a worker hands an activity over to another one. It is not logged."""
    return ApplicationError(
        message, type="WorkerEnds", next_retry_delay=delay, category=ApplicationErrorCategory.BENIGN
    )


def _safe_message(error: Exception) -> str:
    if isinstance(error, IndigoError):
        return redact(str(error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if isinstance(error.filename, str) else error.strerror
    return type(error).__name__  # the message of any other error may contain secrets


def build_failure(job: JobInput, workflow_id: str, error: BaseException) -> Failure:
    """Describe how a job's workflow failed, from the chain of errors around the one that a stage raised."""
    stage, kind, message, last_problem = "", "WorkflowError", type(error).__name__, ""
    is_out_of_time = False
    for cause in _causes(error):
        match cause:
            case ActivityError():
                stage = cause.activity_type
                is_out_of_time = cause.retry_state is RetryState.TIMEOUT  # the next attempt would be too late
            case ApplicationError():
                kind, message, last_problem = cause.type or "WorkflowError", cause.message, cause.message
            case OutOfTimeError(type=TimeoutType.SCHEDULE_TO_CLOSE):
                is_out_of_time = True
            case CancelledError():
                kind, message = CANCELED, CANCELED_MESSAGE
            case TerminatedError():
                kind, message = TERMINATED, TERMINATED_MESSAGE
            case _:
                pass
    if is_out_of_time:
        kind = "WaitTimeoutError"
        message = describe_timeout(job.timeout_seconds)
        if last_problem:
            message = f"{message}. The last attempt failed: {last_problem}"
    return Failure(key=job.key, workflow_id=workflow_id, stage=stage, error_type=kind, message=message)


def describe_timeout(seconds: float) -> str:
    """The message for a job that ran out of time."""
    return f"not done after {seconds:g} s; the server continues, and running the same job again resumes it"


async def find_last_stage(job: WorkflowHandle[Any, Any]) -> str:
    """Find the last stage that a job's workflow began, in its history: no worker is needed. Empty if it began none."""
    stage = ""
    async for event in job.fetch_history_events():
        stage = event.activity_task_scheduled_event_attributes.activity_type.name or stage
    return stage


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
