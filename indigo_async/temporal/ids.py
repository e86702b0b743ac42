"""How workflows are called, so that starting one twice is starting it once."""

from __future__ import annotations

from urllib.parse import quote

__all__ = [
    "IDENTITY_MEMO_KEY",
    "TASK_QUEUE",
    "batch_workflow_id",
    "budget_workflow_id",
    "job_workflow_id",
    "page_workflow_id",
]

TASK_QUEUE = "indigo"
"""Where workers look for work unless they are told otherwise."""

IDENTITY_MEMO_KEY = "indigo_identity"
"""Under which a job's workflow keeps, in its memo, what it makes."""

_SAFE_CHARACTERS = " !#$&'()*+,:;=?@[]"


def job_workflow_id(customer_id: str, audience_name: str) -> str:
    """The ID of a job's workflow: the job's own key. Two jobs of one ID are one job."""
    return f"audience/{_quote(customer_id)}/{_quote(audience_name)}"


def batch_workflow_id(name: str) -> str:
    return f"batch/{_quote(name)}"


def page_workflow_id(name: str, number: int) -> str:
    return f"batch/{_quote(name)}/page/{number}"


def budget_workflow_id(name: str) -> str:
    return f"budget/{_quote(name)}"


def _quote(text: str) -> str:
    """Text in which no slash stands for itself."""
    return quote(text, safe=_SAFE_CHARACTERS)
