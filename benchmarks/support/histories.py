"""What a Temporal server recorded: events and bytes of histories, and heartbeats of running activities."""

from __future__ import annotations

import re
from collections import Counter

import attrs
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

__all__ = ["Histories", "read_heartbeat_bytes", "read_histories"]


@attrs.frozen
class Histories:
    """Counts by the kind of workflow, such as `shard` or `budget`, over all runs."""

    workflows: Counter[str] = attrs.Factory(Counter[str])
    events: Counter[str] = attrs.Factory(Counter[str])
    size_bytes: Counter[str] = attrs.Factory(Counter[str])
    workflow_tasks: Counter[str] = attrs.Factory(Counter[str])


async def read_histories(client: Client) -> Histories:
    """Read all histories of the namespace. The index of workflows may lag by a second."""
    counts = Histories()
    async for execution in client.list_workflows():
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        kind = _kind_of(execution.id)
        counts.workflows[kind] += 1
        counts.events[kind] += len(history.events)
        counts.size_bytes[kind] += sum(event.ByteSize() for event in history.events)
        counts.workflow_tasks[kind] += sum(
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in history.events
        )
    return counts


async def read_heartbeat_bytes(client: Client) -> list[int]:
    """The sizes of the last heartbeats of all running shards."""
    sizes: list[int] = []
    async for execution in client.list_workflows("ExecutionStatus = 'Running'"):
        if _kind_of(execution.id) == "shard":
            described = await client.get_workflow_handle(execution.id).describe()
            sizes += [
                sum(len(payload.data) for payload in activity.heartbeat_details.payloads)
                for activity in described.raw_description.pending_activities
            ]
    return sizes


def _kind_of(workflow_id: str) -> str:
    """`shard` for `batch/march/shard/3`, `page` for `batch/march/page/3`, else the first part of the ID."""
    inner = re.fullmatch(r"batch/.*/(shard|page)/\d+", workflow_id)
    return inner[1] if inner else workflow_id.partition("/")[0]
