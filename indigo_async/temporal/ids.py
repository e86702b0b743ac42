"""Workflow IDs, chosen so that starting a workflow twice starts it once."""

from __future__ import annotations

from urllib.parse import quote

__all__ = [
    "IDENTITY_MEMO_KEY",
    "TASK_QUEUE",
    "batch_workflow_id",
    "budget_workflow_id",
    "claim_holder",
    "claims_workflow_id",
    "job_workflow_id",
    "page_workflow_id",
    "parse_holder",
    "shard_workflow_id",
]

TASK_QUEUE = "indigo"
"""The default task queue of workers."""

IDENTITY_MEMO_KEY = "indigo_identity"
"""The memo key for the hash of what a workflow makes."""

_SAFE_CHARACTERS = " !#$&'()*+,:;=?@[]"


def job_workflow_id(customer_id: str, audience_name: str) -> str:
    """The ID of a job's workflow. Jobs with the same ID are the same job."""
    return f"audience/{_quote(customer_id)}/{_quote(audience_name)}"


def batch_workflow_id(name: str) -> str:
    return f"batch/{_quote(name)}"


def page_workflow_id(name: str, number: int) -> str:
    return f"batch/{_quote(name)}/page/{number}"


def shard_workflow_id(name: str, number: int) -> str:
    return f"batch/{_quote(name)}/shard/{number}"


def budget_workflow_id(name: str) -> str:
    return f"budget/{_quote(name)}"


def claims_workflow_id(task_queue: str, bucket: int) -> str:
    """The ID of the workflow with the claims on a bucket's jobs. Workers of other accounts use other task queues."""
    return f"claims/{_quote(task_queue)}/{bucket}"


def claim_holder(workflow_id: str, run_id: str) -> str:
    """The name under which a run of a workflow claims jobs."""
    return f"{workflow_id}#{run_id}"


def parse_holder(holder: str) -> tuple[str, str]:
    """The workflow ID and the run ID of a holder of claims."""
    workflow_id, _, run_id = holder.rpartition("#")
    return workflow_id, run_id


def _quote(text: str) -> str:
    """Quote text so that it contains no slash."""
    return quote(text, safe=_SAFE_CHARACTERS)
