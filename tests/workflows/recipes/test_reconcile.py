"""Verifying a POST: after each response with an unknown outcome, the server is read before the POST is sent again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.retry import RetryPolicy
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    ConnectionFailedError,
    IndigoError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
)
from indigo_async.workflows.recipes.reconcile import send_and_verify
from tests.support.servers.scripted import QUICK_RETRY
from tests.support.virtual_time import now, run_in_virtual_time

POST = "POST /purchase_csv_export"
AMBIGUOUS = AmbiguousOutcomeError("the connection broke", endpoint=POST)
UNREAD_SUCCESS = [
    ResponseDecodeError("expected an object, got null", endpoint=POST),
    AmbiguousOutcomeError("the response is not JSON", endpoint=POST, reported_success=True),
]
NO_OUTCOME = [
    AMBIGUOUS,
    ServerError(502, "Bad gateway.", None, POST),
    ApiError(408, "Request timeout.", None, POST),
    ApiError(425, "Too early.", None, POST),
]
UNCERTAIN = [*NO_OUTCOME, *UNREAD_SUCCESS]
CERTAIN = [
    ApiError(400, "No.", None, POST),
    AuthenticationError(401, "Who?", None, POST),
    ConnectionFailedError("no connection could be made", endpoint=POST),
]
SLOW_DOWN = RateLimitedError(429, "Slow down.", None, POST, retry_after=0.001)


@attrs.define
class ScriptedEndpoint:
    """Each send ends as scripted: with an error or not, and carried out or not. Reads are truthful, or fail."""

    script: list[tuple[IndigoError | None, bool]]
    read_error: IndigoError | None = None
    sent: int = 0
    checks: int = 0
    done: int = 0
    on_check: Callable[[], None] = lambda: None

    async def send(self) -> str:
        error, carried_out = self.script[self.sent]
        self.sent += 1
        self.done += carried_out
        if error is not None:
            raise error
        return "response"

    async def find_outcome(self) -> str | None:
        self.checks += 1
        self.on_check()
        if self.read_error is not None:
            raise self.read_error
        return "found" if self.done else None

    async def run(self, **options: Any) -> str:
        return await send_and_verify(self.send, self.find_outcome, **{"retry": QUICK_RETRY} | options)


async def test_a_response_needs_no_read():
    endpoint = ScriptedEndpoint([(None, True)])
    assert await endpoint.run() == "response"
    assert (endpoint.sent, endpoint.checks) == (1, 0)


@pytest.mark.parametrize("error", UNCERTAIN, ids=lambda error: type(error).__name__)
async def test_a_request_that_was_carried_out_is_found_and_not_sent_again(error: IndigoError):
    endpoint = ScriptedEndpoint([(error, True)])
    assert await endpoint.run() == "found"
    assert (endpoint.sent, endpoint.checks) == (1, 1)


@pytest.mark.parametrize("error", NO_OUTCOME, ids=lambda error: type(error).__name__)
async def test_a_request_that_was_not_carried_out_is_sent_again(error: IndigoError):
    endpoint = ScriptedEndpoint([(error, False), (error, False), (None, True)])
    assert await endpoint.run() == "response"
    assert (endpoint.sent, endpoint.checks) == (3, 2)


@pytest.mark.parametrize("error", UNREAD_SUCCESS, ids=lambda error: type(error).__name__)
async def test_a_request_whose_2xx_response_cannot_be_understood_is_never_sent_again(error: IndigoError):
    endpoint = ScriptedEndpoint([(error, False)])
    with pytest.raises(IndigoError) as caught:
        await endpoint.run()
    assert caught.value is error
    assert (endpoint.sent, endpoint.checks) == (1, QUICK_RETRY.attempts)


@pytest.mark.parametrize("error", UNREAD_SUCCESS, ids=lambda error: type(error).__name__)
async def test_the_outcome_of_a_response_that_cannot_be_understood_may_show_late(error: IndigoError):
    endpoint = ScriptedEndpoint([(error, False)])

    def show_at_second_check() -> None:
        endpoint.done = endpoint.checks == 2

    endpoint.on_check = show_at_second_check
    assert await endpoint.run() == "found"
    assert (endpoint.sent, endpoint.checks) == (1, 2)


@pytest.mark.parametrize(("error", "sent"), [(AMBIGUOUS, 6), *((error, 1) for error in UNREAD_SUCCESS)])
async def test_without_a_read_only_a_lost_response_is_a_reason_to_send_again(error: IndigoError, sent: int):
    endpoint = ScriptedEndpoint([(error, True)] * 6)
    retry = RetryPolicy(attempts=6, wait_initial=0, wait_max=0)
    with pytest.raises(IndigoError) as caught:
        await send_and_verify(endpoint.send, None, retry=retry)
    assert caught.value is error
    assert endpoint.sent == sent


@pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
async def test_a_certain_failure_is_raised_at_once(error: IndigoError):
    endpoint = ScriptedEndpoint([(error, False)])
    with pytest.raises(IndigoError) as caught:
        await endpoint.run()
    assert caught.value is error
    assert (endpoint.sent, endpoint.checks) == (1, 0)


async def test_after_the_last_attempt_the_last_uncertain_error_is_raised():
    endpoint = ScriptedEndpoint([(error, False) for error in (NO_OUTCOME * 5)[: QUICK_RETRY.attempts]])
    with pytest.raises(IndigoError) as caught:
        await endpoint.run()
    assert caught.value is endpoint.script[-1][0]
    assert endpoint.sent == endpoint.checks == QUICK_RETRY.attempts


async def test_a_failed_read_leaves_the_outcome_unknown_and_sends_nothing_more():
    read_error = ConnectionFailedError("no connection could be made", endpoint="GET /audience")
    endpoint = ScriptedEndpoint([(AMBIGUOUS, True)], read_error=read_error)
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await endpoint.run()
    assert caught.value.__cause__ is read_error
    assert endpoint.sent == 1


async def test_every_rate_limit_is_obeyed():
    endpoint = ScriptedEndpoint([(SLOW_DOWN, False)] * 20 + [(None, True)])
    assert await endpoint.run() == "response"
    assert (endpoint.sent, endpoint.checks) == (21, 0)


@pytest.mark.parametrize("retry_after", [None, 0.001])
async def test_a_rate_limit_of_the_read_is_obeyed_and_settles_nothing(retry_after: float | None):
    endpoint = ScriptedEndpoint([(AMBIGUOUS, True)])

    def slow_down_once() -> None:
        if endpoint.checks == 1:
            raise RateLimitedError(429, "Slow down.", None, "GET /audience", retry_after=retry_after)

    endpoint.on_check = slow_down_once
    assert await endpoint.run() == "found"
    assert (endpoint.sent, endpoint.checks) == (1, 2)


HOURS = RetryPolicy(attempts=3, wait_initial=3_600, wait_max=7_200)


def seconds_until_done(endpoint: ScriptedEndpoint, find_outcome: Any = None) -> float:
    """How long a POST takes to be certain, whether it succeeds or not, if only waits take time."""

    async def run() -> float:
        started_at = now()
        with suppress(IndigoError):
            await send_and_verify(endpoint.send, find_outcome, retry=HOURS)
        return now() - started_at

    return run_in_virtual_time(run())


@pytest.mark.parametrize(("retry_after", "seconds"), [(9_000, 9_000), (0, 3_600), (None, 7_200)])
def test_a_rate_limit_is_waited_out_as_long_as_the_server_asks(retry_after: float | None, seconds: float):
    slow_down = RateLimitedError(429, "Slow down.", None, POST, retry_after=retry_after)
    assert seconds_until_done(ScriptedEndpoint([(slow_down, False), (None, True)])) == seconds


def test_the_waits_between_attempts_grow_within_the_policy():
    endpoint = ScriptedEndpoint([(AMBIGUOUS, False)] * 3)
    assert 1_800 + 3_600 <= seconds_until_done(endpoint, endpoint.find_outcome) <= 3_600 + 7_200
    endpoint = ScriptedEndpoint([(AMBIGUOUS, False), (None, True)])
    assert 1_800 <= seconds_until_done(endpoint, endpoint.find_outcome) <= 3_600


@pytest.mark.parametrize("error", UNREAD_SUCCESS, ids=lambda error: type(error).__name__)
def test_a_success_that_no_read_can_show_is_reported_at_once(error: IndigoError):
    assert seconds_until_done(ScriptedEndpoint([(error, True)])) == 0


async def test_each_unknown_outcome_is_reported():
    unknown: list[None] = []
    endpoint = ScriptedEndpoint([(AMBIGUOUS, False), (SLOW_DOWN, False), (NO_OUTCOME[1], False), (None, True)])
    await endpoint.run(on_unknown_outcome=lambda: unknown.append(None))
    assert len(unknown) == 2


_outcomes = st.tuples(st.none() | st.sampled_from([*UNCERTAIN, *CERTAIN, SLOW_DOWN]), st.booleans())


@given(
    st.lists(_outcomes, min_size=6, max_size=6).map(lambda script: [*script, *[(None, True)] * 6]), st.integers(1, 6)
)
async def test_nothing_is_ever_carried_out_twice(script: list[tuple[IndigoError | None, bool]], attempts: int):
    honest = [(error, carried_out if error in UNCERTAIN else error is None) for error, carried_out in script]
    endpoint = ScriptedEndpoint(honest)
    try:
        result = await endpoint.run(retry=RetryPolicy(attempts=attempts, wait_initial=0, wait_max=0))
    except IndigoError:
        result = None
    assert endpoint.done <= 1
    assert endpoint.sent <= attempts + sum(error is SLOW_DOWN for error, _ in honest)
    assert (result is not None) == (endpoint.done == 1)
