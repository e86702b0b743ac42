"""Failed polls, in virtual time: which errors end a wait, and when the next poll comes."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from indigo_async.errors import (
    ApiError,
    AuthenticationError,
    ConnectionFailedError,
    CustomerMismatchError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
)
from tests.support.servers.fake_audience_api import (
    INTERVAL,
    MAX_VERIFICATION_READS,
    FakeAudienceApi,
    active_from,
    active_or_none,
    audience,
    open_poller,
)
from tests.support.virtual_time import now, virtual_backend

anyio_backend = virtual_backend

GET = "GET /audience"
TRANSIENT = [
    ConnectionFailedError("refused", endpoint=GET),
    RequestTimeoutError("no answer", endpoint=GET),
    ServerError(503, "busy", None, GET),
    RateLimitedError(429, "too many", None, GET, retry_after=1.0),
    ResponseDecodeError("the response is not JSON", endpoint=GET),
    ApiError(408, "too slow", None, GET),
    ApiError(425, "too early", None, GET),
]


def failing(times, error, kind=None):
    """A fault for the first `times` requests."""
    left = times

    def fault(request):
        nonlocal left
        if kind in {None, request.kind} and left:
            left -= 1
            raise error

    return fault


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: f"{type(error).__name__} {getattr(error, 'status', '')}")
async def test_a_transient_failure_does_not_end_the_wait(error):
    server = FakeAudienceApi(fault=failing(6, error))
    server.add("42", 1, active_from(now() + 10, 1))
    async with open_poller(server) as poller:
        assert (await poller.wait_until(1, "42", active_or_none)).status == "ACTIVE"
    polls = server.request_times("single")
    gaps = [later - earlier for earlier, later in itertools.pairwise(polls)]
    assert len(polls) == 7
    assert min(gaps) >= INTERVAL
    assert max(gaps) <= 30.2


async def test_retry_after_is_obeyed():
    server = FakeAudienceApi(fault=failing(1, RateLimitedError(429, "too many", None, GET, retry_after=120.0)))
    server.add("42", 1, audience(1, "ACTIVE"))
    async with open_poller(server) as poller:
        await poller.wait_until(1, "42", active_or_none)
    first, second = server.request_times("single")
    assert second - first >= 120


@pytest.mark.parametrize("error", [NotFoundError(404, "none", None, GET), ApiError(400, "odd", None, GET)])
@pytest.mark.parametrize("refusals", [2, 3])
async def test_a_third_refusal_in_a_row_ends_the_wait(error, refusals):
    server = FakeAudienceApi(fault=failing(refusals, error))
    server.add("42", 1, audience(1, "ACTIVE"))
    async with open_poller(server) as poller:
        if refusals < 3:
            await poller.wait_until(1, "42", active_or_none)
        else:
            with pytest.raises(type(error)) as caught:
                await poller.wait_until(1, "42", active_or_none)
            assert caught.value is error
    assert len(server.log) == 3


async def test_refusals_that_are_not_in_a_row_do_not_end_the_wait():
    """Every third poll succeeds."""
    polls = 0

    def fault(_):
        nonlocal polls
        polls += 1
        if polls % 3:
            raise NotFoundError(404, "none", None, GET)

    server = FakeAudienceApi(fault=fault)
    server.add("42", 1, active_from(now() + 120, 1))
    async with open_poller(server) as poller:
        await poller.wait_until(1, "42", active_or_none)
    assert polls > 9


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(401, "wrong token", None, GET),
        AuthenticationError(403, "not allowed", None, GET),
        CustomerMismatchError(endpoint=GET, requested="42", received="43"),
    ],
)
async def test_a_final_error_ends_the_wait_at_once(error):
    server = FakeAudienceApi(fault=failing(1, error))
    server.add("42", 1, audience(1, "ACTIVE"))
    async with open_poller(server) as poller:
        waits = [poller.wait_until(1, "42", active_or_none) for _ in range(3)]
        results = await asyncio.gather(*waits, return_exceptions=True)
    assert results == [error] * 3
    assert len(server.log) == 1


async def wait_for_hundred(server, seconds):
    for number in range(100):
        server.add("42", number, active_from(now() + seconds, number))
    async with open_poller(server) as poller:
        return await asyncio.gather(
            *(poller.wait_until(number, "42", active_or_none) for number in range(100)), return_exceptions=True
        )


async def test_a_wrong_token_ends_all_waits_of_a_list():
    error = AuthenticationError(401, "wrong token", None, "GET /audiences")
    server = FakeAudienceApi(fault=failing(1, error, "list"))
    assert await wait_for_hundred(server, 30) == [error] * 100
    assert len(server.log) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_server_that_refuses_lists_is_polled_singly(status):
    kind = {403: AuthenticationError, 404: NotFoundError}.get(status, ApiError)
    server = FakeAudienceApi(fault=failing(1_000, kind(status, "no", None, "GET /audiences"), "list"))
    results = await wait_for_hundred(server, 100)
    assert not [result for result in results if isinstance(result, BaseException)]
    assert server.request_kinds["list"] == 1
    assert server.request_kinds["single"] >= 100 * 18


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
async def test_a_list_that_fails_for_a_while_does_not_cause_a_flood(error):
    """A failed list is not replaced by a hundred single reads."""
    server = FakeAudienceApi()
    started = now()

    def fault(request):
        if request.kind == "list" and started + 20 <= request.sent < started + 27:
            raise error

    server.fault = fault
    results = await wait_for_hundred(server, 100)
    assert not [result for result in results if isinstance(result, BaseException)]
    assert set(server.request_kinds) <= {"list", "single"}
    assert server.request_kinds["list"] <= 24
    assert server.request_kinds["single"] <= MAX_VERIFICATION_READS


async def test_a_lasting_rate_limit_does_not_count_against_the_list():
    server = FakeAudienceApi()
    started = now()

    def fault(request):
        if started + 20 <= request.sent < started + 90:
            raise RateLimitedError(429, "too many", None, "GET /audiences", retry_after=1.0)

    server.fault = fault
    results = await wait_for_hundred(server, 150)
    assert not [result for result in results if isinstance(result, BaseException)]
    assert set(server.request_kinds) <= {"list", "single"}
    assert server.request_kinds["single"] <= MAX_VERIFICATION_READS


async def test_lists_that_always_fail_are_replaced_by_single_reads():
    server = FakeAudienceApi(fault=failing(1_000, ServerError(500, "broken", None, "GET /audiences"), "list"))
    results = await wait_for_hundred(server, 100)
    assert not [result for result in results if isinstance(result, BaseException)]
    assert server.request_kinds["list"] <= 5
    assert server.request_kinds["single"] >= 100 * 8


async def test_a_server_that_is_down_is_polled_less_and_less_often():
    server = FakeAudienceApi(fault=failing(10**6, ConnectionFailedError("refused", endpoint=GET)))
    server.add("42", 1, audience(1))
    async with open_poller(server) as poller:
        wait = asyncio.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(3_600)
        assert not wait.done()
        assert 100 <= len(server.log) <= 140
        wait.cancel()
