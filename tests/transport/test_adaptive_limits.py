"""The limits alone, against simulated servers in virtual time and with random sequences of events."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit
from tests.support.simulated_servers import (
    ChangingServer,
    FixedWindow,
    MaxInFlight,
    SlidingWindow,
    SporadicRefusals,
    TokenBucket,
    Unlimited,
    saturate,
)


def limits(rate, *, sends_retry_after=False):
    return [
        TokenBucket(rate, burst=rate / 10, sends_retry_after=sends_retry_after),
        TokenBucket(rate, burst=rate, sends_retry_after=sends_retry_after),
        TokenBucket(rate, burst=5 * rate, sends_retry_after=sends_retry_after),
        FixedWindow(rate, sends_retry_after=sends_retry_after),
        SlidingWindow(rate, sends_retry_after=sends_retry_after),
    ]


@pytest.mark.parametrize(
    "server",
    [
        *limits(50),
        *limits(200),
        TokenBucket(1_000, burst=1_000),
        FixedWindow(1_000),
        *limits(50, sends_retry_after=True),
        *limits(200, sends_retry_after=True),
    ],
    ids=str,
)
def test_a_limit_is_nearly_used_with_few_429s(server):
    """In 160 runs with such limits of 50 to 1,000, without `Retry-After`, 0.98 is used and 0.24% refused on average."""
    outcome = saturate(server, 150, since=30)
    print(f"used {outcome.throughput / server.rate:.3f}, refused {outcome.refused_share:.2%}")
    assert outcome.throughput >= 0.94 * server.rate  # a pause of whole seconds costs a window more than the 429 does
    assert outcome.refused_share <= 0.01


@pytest.mark.parametrize("server", [*limits(200), *limits(200, sends_retry_after=True)], ids=str)
def test_an_unknown_limit_is_learned_in_seconds(server):
    outcome = saturate(server, 30)
    print(f"used {outcome.throughput / server.rate:.3f}, refused {outcome.refused_share:.2%}")
    assert outcome.throughput >= 0.7 * server.rate
    assert outcome.refused_share <= 0.06


@pytest.mark.parametrize(("share", "min_ratio"), [(0.002, 0.9), (0.005, 0.8), (0.01, 0.8), (0.02, 0.8), (0.05, 0.6)])
@pytest.mark.parametrize(("latency", "seconds"), [(0.005, 5), (0.02, 5), (0.2, 30)])
def test_sporadic_429s_do_not_slow_the_client_down(share, min_ratio, latency, seconds):
    """At 20 ms, 2% of them cost 6% of the throughput of a run of 4 s, and in 99 of 100 runs at most 15%."""
    undisturbed = saturate(Unlimited(), seconds, latency=latency).throughput
    ratios = [
        saturate(SporadicRefusals(Unlimited(), share, seed), seconds, latency=latency, seed=seed).throughput
        / undisturbed
        for seed in range(3)
    ]
    print([f"{ratio:.2f}" for ratio in ratios])
    assert min(ratios) >= min_ratio


@pytest.mark.parametrize("share", [0.005, 0.02])
@pytest.mark.parametrize("server", limits(200), ids=str)
def test_sporadic_429s_do_not_hide_a_limit(server, share):
    outcome = saturate(SporadicRefusals(server, share), 120, since=30)
    print(f"used {outcome.throughput / server.rate:.3f}, refused {outcome.refused_share:.2%}")
    assert outcome.throughput >= 0.85 * server.rate
    assert outcome.refused_share <= share + 0.025


@pytest.mark.parametrize("server", [TokenBucket(200, burst=200), FixedWindow(200), SlidingWindow(200)], ids=str)
def test_clients_that_share_a_limit_use_it_together(server):
    outcome = saturate(server, 120, since=30, clients=3)
    print(f"used {outcome.throughput / server.rate:.3f}, refused {outcome.refused_share:.2%}, {outcome.by_client}")
    assert outcome.throughput >= 0.93 * server.rate
    assert outcome.refused_share <= 0.03
    assert min(outcome.by_client) >= outcome.accepted / 12


@pytest.mark.parametrize("sends_retry_after", [True, False])
def test_a_lowered_limit_is_learned(sends_retry_after):
    before = TokenBucket(200, burst=200, sends_retry_after=sends_retry_after)
    after = TokenBucket(40, burst=40, sends_retry_after=sends_retry_after)
    outcome = saturate(ChangingServer(before, after, 60), 120, since=60)
    assert outcome.throughput >= 0.9 * after.rate
    assert outcome.refused_share <= 0.03


@pytest.mark.parametrize("after", [TokenBucket(200, burst=200), SporadicRefusals(Unlimited(), 0.02)], ids=str)
def test_the_rate_recovers_when_the_limit_is_raised(after):
    outcome = saturate(ChangingServer(TokenBucket(20, burst=20), after, 60), 180, since=150)
    assert outcome.throughput >= 0.9 * 200


def test_a_limit_after_sporadic_429s_is_learned():
    server = ChangingServer(SporadicRefusals(Unlimited(), 0.02), TokenBucket(200, burst=200), 20)
    outcome = saturate(server, 120, since=40)
    assert outcome.throughput >= 0.9 * 200
    assert outcome.refused_share <= 0.02


def test_a_used_up_quota_is_not_hammered():
    """12,000 requests are used up in five seconds, then there are 55 seconds of nothing but 429s."""
    outcome = saturate(FixedWindow(200, seconds=60), 59, since=10)
    assert outcome.accepted == 0
    assert outcome.refused <= 500


def test_use_resumes_with_the_next_quota():
    outcome = saturate(FixedWindow(200, seconds=60), 70, since=60)
    assert outcome.accepted >= 1_000


def test_a_limit_of_concurrent_requests_is_nearly_used():
    outcome = saturate(MaxInFlight(16, seconds=0.02), 120, since=20, latency=0.01)
    assert outcome.throughput >= 0.75 * 16 / 0.02
    assert outcome.refused_share <= 0.01


def test_there_is_no_rate_before_the_first_429():
    limit = RateLimit()
    for step in range(1_000):
        limit.consume(step / 1e6)
        limit.record_accepted(started=step / 1e6, now=step / 1e6)
    assert limit.rate is None
    assert limit.ready_at == float("-inf")


def test_429s_of_one_round_trip_count_once():
    limit = RateLimit()
    for _ in range(100):
        limit.record_accepted(started=9.9, now=10.0)
    limit.record_rate_limited(started=9.99, now=10.0, is_certain=True)
    first = limit.rate
    limit.record_rate_limited(started=9.995, now=10.001, is_certain=True)
    assert limit.rate == first
    limit.record_rate_limited(started=10.5, now=10.6, is_certain=True)
    assert limit.rate < first

    concurrency = ConcurrencyLimit(64)
    before = concurrency.current
    concurrency.record_timeout(started=9.99, now=10.0)
    after = concurrency.current
    concurrency.record_timeout(started=9.995, now=10.001)
    assert after < before
    assert concurrency.current == after


def test_an_unused_rate_does_not_grow():
    limit = RateLimit()
    for _ in range(50):
        limit.record_accepted(started=0.9, now=1.0)
    limit.record_rate_limited(started=0.9, now=1.0, is_certain=True)
    rate = limit.rate
    for second in range(2, 600):
        limit.consume(float(second))
        limit.record_accepted(started=float(second), now=float(second))
    assert limit.rate == pytest.approx(rate)


def test_concurrency_grows_to_its_ceiling_while_it_is_fully_used():
    limit = ConcurrencyLimit(64)
    for step in range(1_000):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=int(limit.current), latency_group="GET")
    assert limit.current == 64


def test_unused_concurrency_does_not_grow():
    limit = ConcurrencyLimit(64)
    first = limit.current
    for step in range(1_000):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=1, latency_group="GET")
    assert limit.current == first


def simulate(seconds_of, rounds, seed=1):
    """Return the limit after each round against a server whose latency is `seconds_of(concurrency)`, plus noise."""
    randomness = random.Random(seed)
    limit = ConcurrencyLimit(64)
    now = 0.0
    limits = []
    for _ in range(rounds):
        concurrency = int(limit.current)
        started = now
        for accepted in sorted(
            started + seconds_of(concurrency) * randomness.uniform(0.8, 1.3) for _ in range(concurrency)
        ):
            limit.record_accepted(started=started, now=accepted, in_flight=concurrency, latency_group="GET")
            now = accepted + 1e-6
        limits.append(limit.current)
    return limits


def test_concurrency_shrinks_for_a_server_that_slows_down_with_load():
    """Above 10 concurrent requests, each further one delays all by 50 ms."""
    limits = simulate(lambda concurrency: 0.05 + 0.05 * max(0, concurrency - 10), rounds=1_000)
    assert max(limits) < 20
    assert min(limits) >= 4


def test_a_distant_server_is_not_mistaken_for_an_overloaded_one():
    assert min(simulate(lambda _: 0.8, rounds=200)[-100:]) == 64


def test_slow_responses_without_a_latency_group_change_nothing():
    limit = ConcurrencyLimit(64)
    for step in range(100):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=64, latency_group="GET")
    before = limit.current
    for step in range(100, 200):
        limit.record_accepted(started=float(step), now=step + 30.0, in_flight=64, latency_group=None)
    assert limit.current >= before


def test_latencies_are_compared_within_their_group_only():
    limit = ConcurrencyLimit(64)
    for step in range(500):
        limit.record_accepted(started=float(step), now=step + 0.02, in_flight=64, latency_group="GET /audience")
        limit.record_accepted(started=float(step), now=step + 3.0, in_flight=64, latency_group="POST /upload_csv")
    assert limit.current == 64


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["accepted", "rate limited"]), st.floats(0, 2), st.floats(0, 5)), max_size=200
)


@given(_EVENTS, st.integers(1, 100))
def test_concurrency_stays_between_one_and_its_ceiling(events, ceiling):
    limit = ConcurrencyLimit(ceiling)
    now = 0.0
    for kind, pause, seconds in events:
        now += pause
        if kind == "accepted":
            limit.record_accepted(started=now - seconds, now=now, in_flight=int(limit.current), latency_group="GET")
        else:
            limit.record_timeout(started=now - seconds, now=now)
        assert 1 <= limit.current <= ceiling


@given(_EVENTS, st.floats(0.5, 500), st.integers(1, 300))
def test_the_rate_never_exceeds_its_ceiling(events, ceiling, requests):
    """In no period are more requests sent than the ceiling allows, except for the slack."""
    limit = RateLimit(ceiling)
    now = 0.0
    sent = []
    for kind, pause, seconds in itertools.islice(itertools.cycle(events or [("accepted", 0.0, 0.0)]), requests):
        now = max(now + pause / 100, limit.ready_at)
        limit.consume(now)
        sent.append(now)
        if kind == "accepted":
            limit.record_accepted(started=now - seconds, now=now)
        else:
            limit.record_rate_limited(started=now - seconds, now=now, is_certain=True)
        rate = limit.rate
        assert rate is not None
        assert 0 < rate <= ceiling
    for first in range(0, len(sent), 7):
        for last in range(first, len(sent), 5):
            assert last - first <= ceiling * (sent[last] - sent[first] + 0.02) + 1 + 1e-6
