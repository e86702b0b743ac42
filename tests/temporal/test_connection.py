"""Connecting to Temporal: a server that starts late, and a namespace without search attributes."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from indigo_async.temporal import connect
from indigo_async.temporal.connection import ensure_search_attributes
from indigo_async.temporal.workflows.job import BATCH_KEY
from tests.support.servers.gate import gate_to
from tests.support.servers.temporal import free_port


async def test_a_server_that_starts_later_is_waited_for(temporal_address: str, caplog: pytest.LogCaptureFixture):
    async with gate_to(temporal_address, free_port()) as gate:
        connecting = asyncio.create_task(connect(gate.address))
        while not caplog.messages:
            await asyncio.sleep(0.02)
        await gate.open()
        client = await connecting
        assert client.namespace == "default"
    assert caplog.messages == [
        f"Temporal at {gate.address}: no connection could be made. Trying again for 15 s",
    ]


async def test_the_first_batch_of_a_new_namespace_has_search_attributes(temporal: Client, temporal_address: str):
    namespace = f"fresh-{uuid4().hex[:8]}"
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    client = await connect(temporal_address, namespace=namespace)
    assert await ensure_search_attributes(client)
    handle = await client.start_workflow(
        "BatchWorkflow",
        id="batch/first",
        task_queue="no worker",
        search_attributes=TypedSearchAttributes([SearchAttributePair(BATCH_KEY, "first")]),
    )
    found: list[str] = []
    while not found:  # the search index lags a moment
        found = [seen.id async for seen in client.list_workflows("IndigoBatch = 'first'")]
    assert found == ["batch/first"]
    await handle.terminate()
    assert await ensure_search_attributes(client)
