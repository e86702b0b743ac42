"""Which outcomes are retried, and when: every pair of method and outcome, without a socket."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse, Response
from indigo_async._transport.retry import RetryPolicy, is_outcome_unknown, parse_retry_after, retry_delay
from indigo_async.errors import InvalidInputError

GET = Endpoint("GET", "/audience")
POST = Endpoint("POST", "/purchase_csv_export")


def make_response(status: int, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def make_no_response(reason: FailureReason) -> NoResponse:
    return NoResponse(reason, "detail")


def is_retried(endpoint: Endpoint, outcome: Response | NoResponse) -> bool:
    return retry_delay(endpoint, outcome, policy=RetryPolicy(), attempt=1, elapsed=0.0, jitter=0.5) is not None


RETRIED_GETS = (
    *(make_response(status) for status in (408, 425, 429, 500, 501, 502, 503, 504, 599)),
    *(
        make_no_response(reason)
        for reason in (
            FailureReason.NOT_SENT,
            FailureReason.UNKNOWN_HOST,
            FailureReason.TIMEOUT,
            FailureReason.BROKEN,
            FailureReason.UNREADABLE,
            FailureReason.WEB_PAGE,
        )
    ),
)
FINAL_GETS = (
    *(make_response(status) for status in (301, 302, 400, 401, 403, 404, 405, 409, 413, 422)),
    *(
        make_no_response(reason)
        for reason in (
            FailureReason.UNTRUSTED,
            FailureReason.NO_TLS,
            FailureReason.PROXY_UNUSABLE,
            FailureReason.TOO_LARGE,
        )
    ),
)
RETRIED_POSTS = (
    make_response(429),
    make_no_response(FailureReason.NOT_SENT),
    make_no_response(FailureReason.UNKNOWN_HOST),
)
FINAL_POSTS = (
    *(make_response(status) for status in (301, 400, 401, 403, 404, 405, 408, 425, 500, 501, 502, 503, 504)),
    *(
        make_no_response(reason)
        for reason in FailureReason
        if reason not in {FailureReason.NOT_SENT, FailureReason.UNKNOWN_HOST}
    ),
)


@pytest.mark.parametrize("outcome", RETRIED_GETS, ids=str)
def test_a_get_is_retried_after_transient_failures(outcome: Response | NoResponse):
    assert is_retried(GET, outcome)


@pytest.mark.parametrize("outcome", FINAL_GETS, ids=str)
def test_a_get_is_not_retried_after_other_failures(outcome: Response | NoResponse):
    assert not is_retried(GET, outcome)


@pytest.mark.parametrize("outcome", RETRIED_POSTS, ids=str)
def test_a_post_is_retried_if_it_certainly_was_not_processed(outcome: Response | NoResponse):
    assert is_retried(POST, outcome)


@pytest.mark.parametrize("outcome", FINAL_POSTS, ids=str)
def test_a_post_is_never_retried_otherwise(outcome: Response | NoResponse):
    assert not is_retried(POST, outcome)


def test_every_failure_reason_has_a_decision_for_both_methods():
    for retried, final in ((RETRIED_GETS, FINAL_GETS), (RETRIED_POSTS, FINAL_POSTS)):
        decided = {outcome.reason for outcome in retried + final if isinstance(outcome, NoResponse)}
        assert decided == set(FailureReason)


@pytest.mark.parametrize(
    ("outcome", "unknown"),
    [
        (make_response(200), False),
        (make_response(400), False),
        (make_response(401), False),
        (make_response(408), True),
        (make_response(425), True),
        (make_response(429), False),
        (make_response(500), True),
        (make_response(502), True),
        (make_response(503), True),
        (make_response(504), True),
        (make_no_response(FailureReason.NOT_SENT), False),
        (make_no_response(FailureReason.UNKNOWN_HOST), False),
        (make_no_response(FailureReason.UNTRUSTED), False),
        (make_no_response(FailureReason.NO_TLS), False),
        (make_no_response(FailureReason.PROXY_UNUSABLE), False),
        (make_no_response(FailureReason.TIMEOUT), True),
        (make_no_response(FailureReason.BROKEN), True),
        (make_no_response(FailureReason.UNREADABLE), True),
        (make_no_response(FailureReason.WEB_PAGE), True),
        (make_no_response(FailureReason.TOO_LARGE), True),
    ],
    ids=str,
)
def test_the_outcome_of_a_post_is_unknown_unless_it_got_a_response_or_was_not_sent(
    outcome: Response | NoResponse, *, unknown: bool
):
    assert is_outcome_unknown(outcome) is unknown


@given(
    outcome=st.builds(make_response, st.integers(100, 599))
    | st.builds(make_no_response, st.sampled_from(FailureReason)),
)
def test_a_post_with_an_unknown_outcome_is_never_retried(outcome: Response | NoResponse):
    assert not (is_outcome_unknown(outcome) and is_retried(POST, outcome))


DATE = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "3600"}, 3_600.0),
        ({"retry_after": "3601"}, None),
        ({"retry_after": "99999999999"}, None),
        ({"retry_after": "1795780000"}, None),
        ({"retry_after": "9" * 310}, None),
        ({"retry_after": "9" * 5_000}, None),
        ({"retry_after": "1." + "9" * 5_000}, None),
        ({"retry_after": "Wed, 23 Nov 2033 12:00:30 GMT", "date": DATE}, None),
        ({"retry_after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": DATE}, 30.0),
        ({"retry_after": "Mon, 23 Nov 2026 11:59:00 GMT", "date": DATE}, 0.0),
        ({"retry_after": "Monday, 23-Nov-26 12:01:00 GMT", "date": DATE}, 60.0),
        ({}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": "today"}, None),
        ({"retry_after": "Mon, 99 Nov 2026 12:00:30 GMT", "date": DATE}, None),
        ({"retry_after": "Mon, 23 Nov 2026 12:00:30 +99999999999999999999", "date": DATE}, None),
    ],
)
def test_retry_after_is_in_seconds_or_a_date(headers: dict[str, str], seconds: float | None):
    assert parse_retry_after(make_response(429, **headers)) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [A-Z]+", fullmatch=True), st.text())
def test_any_retry_after_is_parsed_as_seconds_or_none(value: str, date: str):
    seconds = parse_retry_after(make_response(429, retry_after=value, date=date))
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_longer_than_the_backoff_is_obeyed_in_full(status: int):
    policy = RetryPolicy(wait_initial=0.5, timeout=120)
    outcome = make_response(status, retry_after="60")
    assert retry_delay(GET, outcome, policy=policy, attempt=1, elapsed=0.0, jitter=0.0) == 60.0


def test_a_retry_after_shorter_than_the_backoff_changes_nothing():
    outcome = make_response(429, retry_after="0")
    policy = RetryPolicy(wait_initial=4.0, timeout=120)
    assert retry_delay(GET, outcome, policy=policy, attempt=1, elapsed=0.0, jitter=0.0) == 4.0


@pytest.mark.parametrize("endpoint", [GET, POST])
def test_a_wait_that_would_exceed_the_budget_is_not_started(endpoint: Endpoint):
    policy = RetryPolicy(timeout=120)

    def delay(elapsed: float) -> float | None:
        outcome = make_response(429, retry_after="60")
        return retry_delay(endpoint, outcome, policy=policy, attempt=1, elapsed=elapsed, jitter=0.0)

    assert delay(elapsed=60.0) == 60.0
    assert delay(elapsed=60.001) is None


def test_there_is_no_delay_after_the_last_attempt():
    policy = RetryPolicy(attempts=3)
    delays = [
        retry_delay(GET, make_response(503), policy=policy, attempt=attempt, elapsed=0.0, jitter=0.0)
        for attempt in (1, 2, 3)
    ]
    assert delays == [0.5, 1.0, None]


_policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    timeout=st.floats(0, 1_000),
    wait_initial=st.floats(0, 100),
    wait_max=st.floats(0, 100),
)
_jitters = st.floats(0, 1, exclude_max=True)


@given(_policies, st.integers(1, 10_000), _jitters)
def test_a_backoff_is_between_half_and_all_of_the_doubled_delay(policy: RetryPolicy, attempt: int, jitter: float):
    full = min(policy.wait_max, policy.wait_initial * 2.0 ** min(attempt - 1, 32))
    assert full / 2 <= policy.backoff(attempt, jitter) <= full


@given(_policies, st.integers(1, 100), st.floats(0, 2_000), _jitters, st.none() | st.integers(0, 500))
def test_delays_respect_the_budget_the_attempts_and_the_retry_after(
    policy: RetryPolicy, attempt: int, elapsed: float, jitter: float, retry_after: int | None
):
    outcome = make_response(429) if retry_after is None else make_response(429, retry_after=str(retry_after))
    delay = retry_delay(GET, outcome, policy=policy, attempt=attempt, elapsed=elapsed, jitter=jitter)
    if delay is not None:
        assert attempt < policy.attempts
        assert elapsed + delay <= policy.timeout
        assert delay >= (retry_after or 0)


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"timeout": -1}, {"wait_initial": math.nan, "wait_max": -0.1}, {"timeout": math.inf}]
)
def test_an_invalid_policy_is_rejected_with_all_problems(wrong: dict[str, float]):
    with pytest.raises(InvalidInputError) as caught:
        RetryPolicy(**wrong)  # type: ignore[arg-type]
    assert [problem.where for problem in caught.value.problems] == list(wrong)


def test_numbers_of_other_libraries_are_accepted_in_a_policy():
    policy = RetryPolicy(attempts=Decimal(3), wait_initial=Decimal(1), wait_max=Decimal("2.5"))  # type: ignore[arg-type]
    assert policy.backoff(2, 0.5) == 1.5


def test_an_unexpected_401_is_retried_twice_if_the_token_has_worked():
    def delay(endpoint: Endpoint, attempt: int, *, has_worked: bool) -> float | None:
        return retry_delay(
            endpoint,
            make_response(401),
            policy=RetryPolicy(),
            attempt=attempt,
            elapsed=0.0,
            jitter=0.5,
            has_worked=has_worked,
        )

    for endpoint in (GET, POST):
        assert [delay(endpoint, attempt, has_worked=True) is not None for attempt in (1, 2, 3)] == [True, True, False]
        assert delay(endpoint, 1, has_worked=False) is None
