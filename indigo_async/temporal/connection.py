"""Connect to a self-hosted Temporal service or Temporal Cloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from indigo_async._redaction import redact
from indigo_async.errors import ConnectionFailedError
from indigo_async.temporal.converter import data_converter
from indigo_async.temporal.workflows.job import SEARCH_ATTRIBUTE_KEYS

__all__ = ["connect", "ensure_search_attributes", "has_workers", "plain_errors"]

_logger = logging.getLogger("indigo_async")

_CONNECT_SECONDS = 15.0
_SECONDS_BETWEEN = 0.5
_TRANSIENT = {
    RPCStatusCode.CANCELLED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,
}
_RPC_TIMEOUT = timedelta(seconds=5)
_ATTRIBUTE_SECONDS = 15.0


async def connect(
    address: str | None = None,
    *,
    namespace: str | None = None,
    codec: PayloadCodec | None = None,
    runtime: Runtime | None = None,
) -> Client:
    """Connect to Temporal with the data converter of these workflows.

    Missing arguments come from Temporal's environment variables and profiles, as in its command-line tool:
    `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_CLIENT_CERT_PATH`,
    `TEMPORAL_TLS_CLIENT_KEY_PATH` and so on. An API key enables TLS.

    Args:
        address: host and port, such as `127.0.0.1:7233`.
        namespace: the namespace; `default` if it is not set anywhere.
        codec: encrypts payloads. Clients and workers must use the same one.
        runtime: the runtime for Temporal's metrics; defaults to that of the process.

    Raises:
        ConnectionFailedError: the service does not respond or refuses the key.
    """
    settings = ClientConfig.load_client_connect_config()
    if address is not None:
        settings["target_host"] = address
    if namespace is not None:
        settings["namespace"] = namespace
    target = settings.setdefault("target_host", "localhost:7233")
    loop = asyncio.get_running_loop()
    deadline, is_announced = loop.time() + _CONNECT_SECONDS, False
    while True:  # a server that has just started may need some seconds
        try:
            client = await Client.connect(**settings, data_converter=data_converter(codec), runtime=runtime)
            await _check_namespace(client)
        except RPCError as error:
            reason = (
                f"{error.status.name.lower().replace('_', ' ')} (is there a namespace {settings.get('namespace')!r}?)"
            )
            may_pass = error.status in _TRANSIENT
        except RuntimeError:  # a failed connection; its message may contain the metadata sent
            reason, may_pass = "no connection could be made", True
        else:
            return client
        if not may_pass or loop.time() >= deadline:
            break
        if not is_announced:
            is_announced = True
            _logger.warning("Temporal at %s: %s. Trying again for %.0f s", target, reason, _CONNECT_SECONDS)
        await asyncio.sleep(_SECONDS_BETWEEN)
    raise ConnectionFailedError(
        f"{reason}; check the address (--temporal or TEMPORAL_ADDRESS), TEMPORAL_API_KEY and the TLS variables",
        endpoint=f"Temporal at {target}",
    )


async def _check_namespace(client: Client) -> None:
    """Check that the namespace exists, which a server that has just started may not know yet."""
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:  # a key may run workflows and see no namespaces
            raise


@contextmanager
def plain_errors(client: Client) -> Generator[None]:
    """Raise `ConnectionFailedError` if Temporal does not respond, or refuses a request, in the block."""
    try:
        yield
    except RPCError as error:
        reason = f"{error.status.name.lower().replace('_', ' ')} ({redact(error.message)})"
    else:
        return
    raise ConnectionFailedError(reason, endpoint=f"Temporal at {client.service_client.config.target_host}")


async def has_workers(client: Client, task_queue: str) -> bool:
    """Whether a worker has polled the task queue in the last few minutes. True if Temporal doesn't say."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        described = await client.workflow_service.describe_task_queue(request, timeout=_RPC_TIMEOUT)
    except RPCError:
        return True
    return bool(described.pollers)


async def ensure_search_attributes(client: Client) -> bool:
    """Register the search attributes of these workflows if permitted. Returns whether they can be used now.

    New attributes take some seconds to be known everywhere, so this waits until queries accept them, 15 s at most.
    On Temporal Cloud, register them with its own tools.
    """
    operator = client.operator_service
    try:
        listed = await operator.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
        )
        missing = [key.name for key in SEARCH_ATTRIBUTE_KEYS if key.name not in listed.custom_attributes]
        if missing:
            kinds = dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
            await operator.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds), timeout=_RPC_TIMEOUT
            )
            return await _are_searchable(client)
    except RPCError:
        return False
    return True


async def _are_searchable(client: Client) -> bool:
    """Wait until queries accept the search attributes. Returns whether they do."""
    query = " AND ".join(f"{key.name} = ''" for key in SEARCH_ATTRIBUTE_KEYS)
    request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ATTRIBUTE_SECONDS
    while True:
        try:
            await client.workflow_service.count_workflow_executions(request, timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT or loop.time() >= deadline:
                return False
        else:
            return True
        await asyncio.sleep(_SECONDS_BETWEEN)
