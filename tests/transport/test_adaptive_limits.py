"""The limits alone, against model servers in virtual time and with random sequences of events."""

from __future__ import annotations

import heapq
import itertools
import math
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit

LATENCY = 0.005


@attrs.define
class TokenBucket:
    rate: float
    burst: float
    sends_retry_after: bool = True
    tokens: float = attrs.field(init=False)
    filled_at: float = 0.0

    def __attrs_post_init__(self):
        self.tokens = self.burst

    def retry_after_at(self, now):
        """Return the seconds to wait if the request gets a 429, else None."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return math.ceil((1 - self.tokens) / self.rate) if self.sends_retry_after else 0
        self.tokens -= 1
        return None


@attrs.define
class FixedWindow:
    rate: float
    window: int = -1
    passed: int = 0

    def retry_after_at(self, now):
        if int(now) != self.window:
            self.window, self.passed = int(now), 0
        if self.passed >= self.rate:
            return self.window + 1 - now
        self.passed += 1
        return None


def saturate(server, seconds):
    """Send requests as fast as the limits allow. Returns how many were accepted and how many got a 429."""
    concurrency, rate = ConcurrencyLimit(64), RateLimit()
    now = paused_until = 0.0
    accepted = rate_limited = 0
    in_flight = []
    numbers = itertools.count()
    while now < seconds:
        while len(in_flight) + 1 <= concurrency.current and now >= max(paused_until, rate.ready_at):
            rate.consume(now)
            heapq.heappush(in_flight, (now + LATENCY, next(numbers), now, server.retry_after_at(now + LATENCY / 2)))
        events = [in_flight[0][0]] if in_flight else []
        if len(in_flight) + 1 <= concurrency.current:
            events.append(max(paused_until, rate.ready_at))
        now = max(now, min(events))
        while in_flight and in_flight[0][0] <= now:
            _, _, started, wait = heapq.heappop(in_flight)
            if wait is None:
                accepted += 1
                concurrency.record_accepted(started=started, now=now, in_flight=len(in_flight) + 1, latency_group="GET")
                rate.record_accepted(now)
            else:
                rate_limited += 1
                if rate.record_rate_limited(started=started, now=now, is_certain=wait > 0):
                    concurrency.record_overload(started=started, now=now)
                if now + wait > paused_until:
                    rate.skip_pause(now + wait - max(paused_until, now))
                    paused_until = now + wait
    return accepted, rate_limited


@pytest.mark.parametrize(
    ("server", "min_used", "max_429_share"),
    [
        (TokenBucket(200, burst=200), 0.95, 0.01),
        (TokenBucket(50, burst=50), 0.95, 0.01),
        (TokenBucket(200, burst=200, sends_retry_after=False), 0.95, 0.01),
        (TokenBucket(50, burst=5, sends_retry_after=False), 0.85, 0.01),
        (TokenBucket(200, burst=10), 0.75, 0.01),
        (FixedWindow(200), 0.85, 0.01),
        (FixedWindow(50), 0.85, 0.01),
    ],
    ids=str,
)
def test_a_saturated_limit_is_nearly_used_with_few_429s(server, min_used, max_429_share):
    seconds = 60
    accepted, rate_limited = saturate(server, seconds)
    assert accepted / (server.rate * seconds) >= min_used
    assert rate_limited / (accepted + rate_limited) <= max_429_share


@attrs.define
class SporadicRefusals:
    """Some requests get a 429 at any rate, from a proxy that sends no `Retry-After`."""

    server: TokenBucket
    share: float
    randomness: random.Random = attrs.field(factory=lambda: random.Random(7), repr=False)

    @property
    def rate(self):
        return self.server.rate

    def retry_after_at(self, now):
        wait = self.server.retry_after_at(now)
        return 0 if wait is None and self.randomness.random() < self.share else wait


@pytest.mark.parametrize(
    ("server", "seconds", "min_used"),
    [
        (SporadicRefusals(TokenBucket(50, burst=50), 0.002), 120, 0.9),
        (SporadicRefusals(TokenBucket(50, burst=50), 0.008), 240, 0.6),
        (SporadicRefusals(TokenBucket(200, burst=200), 0.002), 120, 0.7),
        (SporadicRefusals(TokenBucket(200, burst=200, sends_retry_after=False), 0.002), 120, 0.7),
        (SporadicRefusals(TokenBucket(200, burst=200), 0.008), 240, 0.5),
        (SporadicRefusals(TokenBucket(100_000, burst=100_000), 0.002), 60, 0.005),
        (SporadicRefusals(TokenBucket(100_000, burst=100_000), 0.008), 120, 0.002),
    ],
    ids=str,
)
def test_429s_unrelated_to_the_rate_do_not_slow_the_client_down(server, seconds, min_used):
    accepted, rate_limited = saturate(server, seconds)
    print(f"used {accepted / (server.rate * seconds):.3f}, 429s {rate_limited / (accepted + rate_limited):.4f}")
    assert accepted / (server.rate * seconds) >= min_used
    assert rate_limited / (accepted + rate_limited) <= server.share + 0.015


@attrs.define
class LoweredLimit:
    """A limit that falls to a fifth of its rate."""

    bucket: TokenBucket
    lowered_at: float

    def retry_after_at(self, now):
        if now > self.lowered_at:
            self.bucket.rate = self.bucket.burst = 40
        return self.bucket.retry_after_at(now)


@pytest.mark.parametrize("sends_retry_after", [True, False])
def test_a_lowered_limit_is_not_mistaken_for_sporadic_429s(sends_retry_after):
    before, after = 60, 120
    accepted, rate_limited = saturate(
        LoweredLimit(TokenBucket(200, burst=200, sends_retry_after=sends_retry_after), before), before + after
    )
    assert rate_limited <= 0.02 * accepted
    assert accepted >= 0.9 * (200 * before + 40 * after)


@attrs.define
class RaisedLimit:
    """A limit that rises to ten times its rate."""

    bucket: TokenBucket
    raised_at: float

    def retry_after_at(self, now):
        if now > self.raised_at:
            self.bucket.rate = self.bucket.burst = 200
        return self.bucket.retry_after_at(now)


def test_the_rate_recovers_when_the_limit_is_raised():
    before, after = 60, 120
    accepted, _ = saturate(RaisedLimit(TokenBucket(20, burst=20), raised_at=before), before + after)
    assert accepted > 20 * before + 0.5 * 200 * after


def test_there_is_no_rate_before_the_first_429():
    limit = RateLimit()
    for step in range(1_000):
        limit.consume(step / 1e6)
        limit.record_accepted(step / 1e6)
    assert limit.rate is None
    assert limit.ready_at == float("-inf")


def test_429s_of_one_round_trip_count_once():
    limit = RateLimit()
    for _ in range(100):
        limit.record_accepted(10.0)
    limit.record_rate_limited(started=9.99, now=10.0, is_certain=True)
    first = limit.rate
    limit.record_rate_limited(started=9.995, now=10.001, is_certain=True)
    assert limit.rate == first
    limit.record_rate_limited(started=10.5, now=10.6, is_certain=True)
    assert limit.rate < first

    concurrency = ConcurrencyLimit(64)
    before = concurrency.current
    concurrency.record_overload(started=9.99, now=10.0)
    after = concurrency.current
    concurrency.record_overload(started=9.995, now=10.001)
    assert after < before
    assert concurrency.current == after


def test_an_unused_rate_does_not_grow():
    limit = RateLimit()
    for _ in range(50):
        limit.record_accepted(1.0)
    limit.record_rate_limited(started=0.9, now=1.0, is_certain=True)
    rate = limit.rate
    for second in range(2, 600):
        limit.consume(float(second))
        limit.record_accepted(float(second))
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
            limit.record_overload(started=now - seconds, now=now)
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
            limit.record_accepted(now)
        else:
            limit.record_rate_limited(started=now - seconds, now=now, is_certain=True)
        rate = limit.rate
        assert rate is not None
        assert 0 < rate <= ceiling
    for first in range(0, len(sent), 7):
        for last in range(first, len(sent), 5):
            assert last - first <= ceiling * (sent[last] - sent[first] + 0.02) + 1 + 1e-6
