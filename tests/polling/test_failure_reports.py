"""What failed status checks report, in virtual time: once in the log, and to each canceled wait."""

from __future__ import annotations

import asyncio

import pytest

from indigo_async._redaction import sanitize_text
from indigo_async.errors import ConnectionFailedError, RateLimitedError, ResponseDecodeError, ServerError
from tests.support.servers.fake_audience_api import (
    INTERVAL,
    FakeAudienceApi,
    active_from,
    active_or_none,
    audience,
    open_poller,
)
from tests.support.virtual_time import now, virtual_backend

anyio_backend = virtual_backend

GET = "GET /audience"
BROKEN = ServerError(503, "Something went wrong", "InternalError", GET)


def failing_between(start, end, error):
    """A fault for all requests within a period."""

    def fault(request):
        if start <= request.sent < end:
            raise error

    return fault


def limited(error_type, retry_after=None):
    return RateLimitedError(429, "Your plan's requests are used up", error_type, GET, retry_after)


async def failures_seen_after(seconds, server, count=1):
    """The failures reported to the first of `count` waits when it is canceled after some seconds."""
    for number in range(count):
        server.add("42", number, audience(number))
    failures = []
    async with open_poller(server) as poller:
        waits = [asyncio.create_task(poller.wait_until(number, "42", active_or_none)) for number in range(1, count)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await poller.wait_until(0, "42", active_or_none, on_cancel=failures.append)
        for wait in waits:
            wait.cancel()
    (recent,) = failures
    return recent


@pytest.mark.parametrize("customers", [1, 60])
async def test_an_outage_is_logged_once_however_many_audiences_wait(customers, caplog):
    started = now()
    server = FakeAudienceApi(fault=failing_between(started + 20, started + 900, BROKEN))
    for number in range(300):
        server.add(f"customer {number % customers}", number, active_from(started + 1_000, number))
    async with open_poller(server) as poller:
        await asyncio.gather(
            *(poller.wait_until(number, f"customer {number % customers}", active_or_none) for number in range(300))
        )
    (message,) = caplog.messages
    assert "status checks of " in message
    assert "audiences waiting: 300" in message
    assert message.endswith("Last error: GET /audience: Something went wrong (503, InternalError)")


async def test_a_second_outage_is_logged_again(caplog):
    started = now()
    first = failing_between(started + 20, started + 200, BROKEN)
    second = failing_between(started + 1_000, started + 1_200, ConnectionFailedError("refused", endpoint=GET))

    def fault(request):
        first(request)
        second(request)

    server = FakeAudienceApi(fault=fault)
    server.add("42", 1, active_from(started + 2_000, 1))
    async with open_poller(server) as poller:
        await poller.wait_until(1, "42", active_or_none)
    assert ["503" in message for message in caplog.messages] == [True, False]


async def test_a_few_failures_are_not_an_outage(caplog):
    started = now()
    server = FakeAudienceApi(fault=failing_between(started + 20, started + 20 + 3 * INTERVAL, BROKEN))
    server.add("42", 1, active_from(started + 200, 1))
    async with open_poller(server) as poller:
        await poller.wait_until(1, "42", active_or_none)
    assert not caplog.messages


async def test_recurring_outages_do_not_fill_the_log(caplog):
    """One audience is never readable; the others are."""
    server = FakeAudienceApi()

    def fault(request):
        if request.audience_id == 0:
            raise ResponseDecodeError("expected a string", endpoint=GET, path="$.id")

    server.fault = fault
    failures = await failures_seen_after(4 * 3_600, server, count=3)
    assert failures.count > 400
    assert failures.last_error == "GET /audience: expected a string at $.id"
    (message,) = caplog.messages
    assert "checks of audience 0 failed; audiences waiting: 3" in message


async def test_a_used_up_quota_is_logged_at_once(caplog):
    server = FakeAudienceApi(fault=failing_between(0, float("inf"), limited("MonthlyQuotaExceeded", 30.0)))
    failures = await failures_seen_after(4_000, server, count=40)
    assert failures.count > 10
    (message,) = caplog.messages
    assert "audiences waiting: 40" in message
    assert "Your plan's requests are used up (429, MonthlyQuotaExceeded)" in message


@pytest.mark.parametrize("error_type", ["PlanExhausted", "EXCEEDED_PLAN", "billing-hold", "SUBSCRIPTION_ENDED"])
async def test_error_types_of_used_up_plans_are_recognized(error_type, caplog):
    await failures_seen_after(2, FakeAudienceApi(fault=failing_between(0, float("inf"), limited(error_type))))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("error_type", [None, "RateLimited", "TooManyRequests"])
async def test_a_plain_rate_limit_is_logged_only_if_it_lasts(error_type, caplog):
    server = FakeAudienceApi(fault=failing_between(0, float("inf"), limited(error_type, 1.0)))
    await failures_seen_after(10, server)
    assert not caplog.messages
    await failures_seen_after(200, server)
    assert len(caplog.messages) == 1


async def test_a_canceled_wait_receives_the_recent_failures():
    started = now()
    failures = await failures_seen_after(
        60, FakeAudienceApi(fault=failing_between(started + 10, started + 1_000, BROKEN))
    )
    assert failures.count == 4
    assert failures.last_error == str(BROKEN)


async def test_a_failed_list_counts_for_all_of_its_audiences():
    started = now()
    server = FakeAudienceApi(fault=failing_between(started + 20, started + 1_000, limited(None)))
    failures = await failures_seen_after(60, server, count=100)
    assert set(server.request_kinds) == {"list"}
    assert 3 <= failures.count <= 4


@pytest.mark.parametrize("count", [1, 100])
async def test_failures_before_a_good_response_are_forgotten(count):
    started = now()
    server = FakeAudienceApi(fault=failing_between(started + 10, started + 40, BROKEN))
    assert await failures_seen_after(100, server, count) is None


@pytest.mark.parametrize("retry_after", [float("inf"), float("nan"), -1.0, 1e300, 1_800_000_000.0])
@pytest.mark.parametrize("count", [1, 50])
async def test_an_absurd_retry_after_is_ignored(retry_after, count):
    started = now()
    server = FakeAudienceApi(fault=failing_between(started + 10, started + 40, limited(None, retry_after)))
    for number in range(count):
        server.add("42", number, active_from(started + 60, number))
    async with open_poller(server) as poller, asyncio.timeout(200):
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(count)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("out of\r\norder\x1b[31m\u202e!", "out of order [31m !"),
        ("see https://user:word@a.example/x?sig=1 for more", "see https://a.example/x?<hidden> for more"),
        ("Authorization: Bearer abc", "Authorization: Bearer <hidden>"),
        ("my token-1 is here", "my <hidden> is here"),
        ("x" * 100_000, "x" * 500),
    ],
)
def test_server_text_is_shown_on_one_line_without_secrets(text, shown):
    assert sanitize_text(text, "token-1") == shown
