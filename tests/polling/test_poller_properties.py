"""Whatever a server does for a while, every wait ends soon after it has recovered."""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from indigo_async._polling import RecordPart
from indigo_async._transport.audience_list import ListTooLongError
from indigo_async.errors import (
    ApiError,
    AuthenticationError,
    NotFoundError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
)
from tests.support.servers.fake_audience_api import FakeAudienceApi, active_from, active_or_none, audience, open_poller
from tests.support.virtual_time import now, run_in_virtual_time

ENDPOINT = "GET /audiences"
LIST_FAULTS = [
    ServerError(503, "busy", None, ENDPOINT),
    RateLimitedError(429, "too many", None, ENDPOINT, retry_after=3.0),
    ResponseDecodeError("no JSON", endpoint=ENDPOINT),
    ApiError(400, "no lists", None, ENDPOINT),
    AuthenticationError(403, "no lists", None, ENDPOINT),
    NotFoundError(404, "no lists", None, ENDPOINT),
    ListTooLongError(10**9, is_exact=True),
]
READ_FAULTS = LIST_FAULTS[:3]
FAULT_SECONDS = 60.0
# The longest pause of a list that never worked, the longest delay between polls, and a poll or two.
RECOVERY = 120.0


class FaultPeriod:
    """Random faults and malformed rows until the server has recovered."""

    def __init__(self, seed, share):
        self.rng = Random(seed)
        self.share = share
        self.ends = now() + FAULT_SECONDS

    def strikes(self):
        return now() < self.ends and self.rng.random() < self.share

    def fault(self, request):
        if self.strikes():
            raise self.rng.choice(READ_FAULTS if request.kind == "single" else LIST_FAULTS)

    def alter_row(self, row):
        if not self.strikes():
            return row
        return self.rng.choice([None, "odd", row | {"status": None}, row | {"status": 7}, row | {"csvExports": [{}]}])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 120),
    customers=st.sampled_from([1, 2, 10, 60]),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    latency=st.sampled_from([0.01, 1.0, 7.0]),
    spread=st.sampled_from([0.0, 10.0, 80.0]),
    list_is_huge=st.booleans(),
)
def test_every_wait_ends(*, seed, count, customers, share, latency, spread, list_is_huge):
    async def scenario():
        rng = Random(seed)
        faults = FaultPeriod(seed, share)
        server = FakeAudienceApi(latency=latency, fault=faults.fault, alter_row=faults.alter_row)
        server.padding = 10**9 if list_is_huge else 0
        started = now()

        async def one(poller, number):
            await asyncio.sleep(spread * rng.random())
            customer_id = None if customers == 60 and number % 7 == 0 else f"customer {number % customers}"
            upload = {"status": "PROCESSING"}
            server.add(customer_id, number, active_from(now() + 60 * rng.random(), number, uploadedAudienceCsv=upload))
            needs = rng.choice([RecordPart.STATUS, RecordPart.STATUS, RecordPart.UPLOAD])
            timeout = rng.uniform(1, 50) if rng.random() < 0.1 else None
            waiting = poller.wait_until(number, customer_id, active_or_none, part=needs)
            wait = asyncio.create_task(asyncio.wait_for(waiting, timeout))
            if rng.random() < 0.1:
                await asyncio.sleep(60 * rng.random())
                wait.cancel()
            return await wait

        async with open_poller(server, seed=seed) as poller:
            waits = [asyncio.create_task(one(poller, number)) for number in range(count)]
            await asyncio.wait(waits)
            bound = max(FAULT_SECONDS, spread + 60) + RECOVERY + 20 * latency
            assert now() - started <= bound
            await asyncio.sleep(0.01)
            assert server.in_flight == 0
        results = await asyncio.gather(*waits, return_exceptions=True)
        allowed = (TimeoutError, asyncio.CancelledError)
        assert all(not isinstance(result, BaseException) or isinstance(result, allowed) for result in results)

    run_in_virtual_time(scenario())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([1, 3, 50]))
def test_every_young_wait_is_polled_about_once_an_interval(seed, count, customers):
    """Nothing ever changes; single reads and lists count alike."""

    async def scenario():
        rng = Random(seed)
        server = FakeAudienceApi()
        async with open_poller(server, seed=seed) as poller:
            waits = []
            for number in range(count):
                customer_id = f"customer {number % customers}"
                server.add(customer_id, number, audience(number))
                waits.append(asyncio.create_task(poller.wait_until(number, customer_id, active_or_none)))
                await asyncio.sleep(10 * rng.random() / count)
            before = poller.stats.polls
            await asyncio.sleep(40)
            polls = (poller.stats.polls - before) / count
            assert 7 <= polls <= 17
            for wait in waits:
                wait.cancel()

    run_in_virtual_time(scenario())
