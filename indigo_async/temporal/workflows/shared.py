"""What the workflows share: retries, signals to ledgers and claims, and when a history is long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

__all__ = ["RETRY", "is_current_task_cancelled", "is_history_long", "send_signal"]

RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60))
"""Unlimited until the activity's deadline. Final errors are marked as not retryable."""


def is_current_task_cancelled() -> bool:
    """Whether this workflow itself is canceled, and not just one of its children or activities."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_history_long(max_events: int) -> bool:
    """Whether this workflow should continue as new, because Temporal says so or its history has more events."""
    info = workflow.info()
    return info.is_continue_as_new_suggested() or info.get_current_history_length() > max_events


async def send_signal(workflow_id: str, name: str, argument: object) -> None:
    """Signal a ledger or claims. If an operator has terminated it, the signal is not needed."""
    with suppress(FailureError):
        await workflow.get_external_workflow_handle(workflow_id).signal(name, argument)
