"""How workflows are called, so that starting one twice is starting it once."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["IDENTITY", "TASK_QUEUE", "batch_id_of", "budget_id_of", "page_id_of", "workflow_id_of"]

TASK_QUEUE = "indigo"
"""Where workers look for work unless they are told otherwise."""

IDENTITY = "indigo_identity"
"""Under which a job's workflow keeps, in its memo, what it makes."""

_PLAIN = " !#$&'()*+,:;=?@[]"


def workflow_id_of(customer_id: str, audience_name: str) -> str:
    """The ID of a job's workflow: the job's own key. Two jobs of one ID are one job."""
    return f"audience/{_part(customer_id)}/{_part(audience_name)}"


def batch_id_of(name: str) -> str:
    return f"batch/{_part(name)}"


def page_id_of(name: str, number: int) -> str:
    return f"batch/{_part(name)}/page/{number}"


def budget_id_of(name: str) -> str:
    return f"budget/{_part(name)}"


def _part(text: str) -> str:
    """Text in which no slash stands for itself."""
    return quote(text, safe=_PLAIN)
