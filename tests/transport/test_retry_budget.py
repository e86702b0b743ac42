from __future__ import annotations

import asyncio

from indigo_async import IndigoClient, Pacing, RetryPolicy
from indigo_async.sandbox import Fault, FaultKind, Sandbox


async def test_time_in_the_clients_own_queue_spends_no_retry_budget():
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.002, timeout=0.1)
    pacing = Pacing(requests_per_second=400)
    async with (
        Sandbox(lite=True) as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=retry, pacing=pacing) as client,
    ):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", skip_first=100, times=5))
        async with asyncio.TaskGroup() as group:
            for _ in range(120):  # the last ones queue for three times the budget
                group.create_task(client.list_audiences("42"))
        assert sandbox.log.count("GET /audiences") == 125
